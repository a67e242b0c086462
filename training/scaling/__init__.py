"""The scaling study: the grid of runs, their training, the law that they follow, and what to train next (CLUE).

    study_run.py a request on an instance, from its grid to its report
        |
    grid.py      options or TOML -> settings, cheapest first      setting.py   a run's name, and the cost of its steps
        |        folder.py    what all runs share: a snapshot, prepared once, and a config
    driver.py    trains each setting that is not in the log, through Ray or in this process
        |-- training.py  one run: counts what it computes; downstream.py scores it with a frozen head
        |
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
