"""The page of a study: Markdown, its pictures and its numbers as JSON. The same runs give the same bytes."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from portrait.training.scaling import tables
from portrait.training.scaling.effects import BatchEffect, Equal, statements
from portrait.training.scaling.law import PowerLaw
from portrait.training.scaling.pictures import draw_batches, draw_downstream, draw_law
from portrait.training.scaling.study import Study

PAGE, NUMBERS = "report.md", "numbers.json"


def write_report(study: Study, folder: Path, commands: Sequence[str] = (), title: str = "Scaling study") -> Path:
    """Write the page, the pictures that the runs suffice for and the numbers into a folder; returns the page's path.

    `commands` are the shell lines that make the study again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sections = [
        f"# {title}\n",
        *_summary(study),
        *_law(study, folder),
        *_ahead(study),
        *(line for effect in study.effects for line in _batches(effect, folder)),
        *_downstream(study, folder),
        "## All runs\n",
        tables.run_table(study),
        *_commands(commands),
    ]
    page = folder / PAGE
    page.write_text("\n".join(sections) + "\n")
    (folder / NUMBERS).write_text(json.dumps(tables.numbers(study), indent=1, sort_keys=True) + "\n")
    return page


def _summary(study: Study) -> Iterable[str]:
    runs = (*study.runs, *study.held_out)
    hours = sum(run.seconds for run in runs) / 3600
    total = tables.flops(sum(run.flops for run in runs))
    held_out = f", {len(study.held_out)} of them held out of the fit" if study.held_out else ""
    yield f"{len(runs)} runs{held_out}; {hours:.2g} hours of training, {total} FLOPs."
    yield "The loss is the InfoNCE of held-out users in nats over a fixed set of candidates; lower is better.\n"


def _law(study: Study, folder: Path) -> Iterable[str]:
    draw_law(study, folder / "loss-compute.png")
    yield "## Loss over compute\n"
    yield "![Held-out loss over training compute, with the fitted law](loss-compute.png)\n"
    law = study.law
    if law is None:
        yield f"**{study.refusal}**\n"
        return
    fitted = f"{law.irreducible:.3f} + {_tex(law.coefficient)}\\;C^{{-{law.exponent:.4f}}}"
    yield f"$$L(C) = L_\\infty + a\\,C^{{-b}} = {fitted}$$\n"
    yield tables.law_table(law)
    yield f"\n{_explain_law(law)}\n"
    if law.warnings:
        yield "**What speaks against relying on it:**\n"
        yield from (f"- {warning}" for warning in law.warnings)
        yield ""
    yield "A configuration is on the frontier when its loss, the mean over its seeds, is lower than that of every"
    yield "configuration of at most its compute.\n"
    yield tables.frontier_table(law)
    yield ""


def _explain_law(law: PowerLaw) -> str:
    return (
        f"Fitted to the {len(law.frontier)} configurations on the frontier, over {law.decades:.1f} decades of compute; "
        f"R² of log loss {law.r_squared:.4f}, scatter around the law {law.scatter:.2%}. Ten times the compute leaves "
        f"{10**-law.exponent:.0%} of the loss above L_inf. The intervals come from {len(law.draws)} resamplings of "
        "the runs."
    )


def _ahead(study: Study) -> Iterable[str]:
    if study.checks:
        yield "## Did the law foretell the held-out runs?\n"
        yield f"{tables.check_table(study)}\n"
    if study.forecasts:
        yield "## What to train next\n"
        yield f"{tables.forecast_table(study)}\n"
        notes = [f"- {tables.flops(f.budget)} FLOPs: {note}" for f in study.forecasts for note in f.notes]
        yield from ([*notes, ""] if notes else [])
        yield "The settings follow the trends of the frontier, rounded to what can be trained:\n"
        yield f"{tables.trend_table(study)}\n"


def _batches(effect: BatchEffect, folder: Path) -> Iterable[str]:
    picture = f"batch-{effect.equal.value}.png"
    draw_batches(effect, folder / picture)
    amount = f"{tables.flops(effect.amount)} FLOPs" if effect.equal is Equal.COMPUTE else f"{effect.amount:,.0f} steps"
    yield f"## Batch and model size at equal {effect.equal.value}\n"
    yield f"![Held-out loss over batch, a line for each size]({picture})\n"
    yield f"Every run made {amount}.\n" if effect.equal is Equal.STEPS else f"Every run used {amount}, up to 5%.\n"
    yield f"{tables.batch_table(effect)}\n"
    yield from (f"- {sentence}" for sentence in statements(effect))
    yield ""


def _downstream(study: Study, folder: Path) -> Iterable[str]:
    yield "## Loss and downstream score\n"
    found = study.correlation
    if found is None:
        yield "Too few configurations have a downstream score, or all scores are equal: no correlation.\n"
        return
    draw_downstream(study, folder / "downstream.png")
    yield "![Downstream score over held-out loss](downstream.png)\n"
    verdict = (
        "They move together: lower loss goes with a higher score."
        if found.interval.high < 0
        else "Lower loss goes with a lower score."
        if found.interval.low > 0
        else "The runs do not show that they move together."
    )
    yield f"Spearman's correlation over {found.count} configurations is {found.rho:.2f}, with a 95% interval of"
    yield f"{tables.between(found.interval, 2)}. {verdict}\n"


def _commands(commands: Sequence[str]) -> Iterable[str]:
    if commands:
        yield "\n## To make it again\n"
        yield "\n".join(["```sh", *commands, "```"])


def _tex(value: float) -> str:
    mantissa, _, power = f"{value:.2e}".partition("e")
    return f"{mantissa}\\times10^{{{int(power)}}}"
