"""The scaling study without the training: which runs to make, what they say, and what to train next (CLUE).

    grid.py      options or TOML -> settings, cheapest first      setting.py   what tells a run apart, what a step costs
        |  the driver trains each setting that is not in the log
    runs.py      one CSV row a run, safe against a killed writer
        |
    frontier.py  runs -> points (mean over seeds) -> the lower envelope over compute
        |-- fit.py       law.py: L(C) = L_inf + a C^-b, with bootstrap intervals and warnings
        |     '-- forecast.py   a budget -> the setting to train and the loss to expect; a held-out run -> did it hold?
        '-- effects.py   batch against size at equal compute or steps; pretext loss against downstream score
        |
    study.py     all of it, for one set of runs
        |-- pictures.py  three kinds of PNG
        '-- report.py    tables.py: Markdown and JSON, the same bytes for the same runs

Loss is the held-out InfoNCE in nats, over a fixed set of candidates, so that batches of any size compare.
Compute is in FLOPs of training.
"""
