"""The shadow pool of the open original: whether it is there, asking for it, and what it costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from pages.parts import jobs, opening, waiting
from pages.parts.backend import backend
from pages.parts.remembering import remembered
from unlearn_core.runs import api, forecast, pools
from unlearn_core.runs.api import Audit, Run
from unlearn_core.runs.forecast import Forecast
from unlearn_core.runs.originals import Original
from unlearn_core.runs.pools import Table
from unlearn_core.runs.spec import AuditSpec, PoolSpec

COUNTS = (32, 64, 128, 256)
USUAL = 64
COLUMNS = {"memorisation": "memorisation", "difficulty": "expected difficulty", "exposure": "exposure"}
MEANING = {
    "memorisation": "How much more often models that saw the instance predict its label than models that did not (Feldman and Zhang, arXiv:2008.03703).",
    "difficulty": "Minus the mean logit-scaled confidence of models that never saw the instance: above 0, they mostly answer wrongly.",
    "exposure": "How far apart models that saw the instance and models that did not stand, in spreads (d′ of signal detection): how easily an attacker could tell.",
}
HELP = {name: st.column_config.NumberColumn(COLUMNS[name], format="%.3g", help=text) for name, text in MEANING.items()}


def table(found: Original) -> Table | None:
    """What the largest stored pool of this original says of its training instances, or None."""
    if found.task != "classes":
        return None
    key = pools.largest(backend().store, api.pool_spec(found, USUAL, opening.device_now(found)))
    return _load(key) if key else None


@remembered(4)
def _load(key: str) -> Table | None:
    return pools.load(backend().store, key)


def usual(found: Original) -> int:
    """The number of shadows of the largest stored pool, or the usual number."""
    there = table(found)
    return there.spec.members if there else USUAL


def members_field(place, found: Original, key: str, first: int | None = None) -> int:
    """first: the number to begin with; that of the largest stored pool if left out."""
    there = first or usual(found)
    options = sorted({*COUNTS, there})
    return place.selectbox(
        "Shadow models",
        options,
        index=options.index(there),
        key=key,
        help="Half of them judge, half choose. With 64, each instance was left out by about 9 judges.",
    )


def cost(spec: PoolSpec, found: Original) -> None:
    """Say what training the pool takes, before it is asked for."""
    if pools.load(backend().store, spec.key):
        st.caption(f"The {spec.members} shadow models are there already.")
        return
    st.caption(f"{spec.members} models are trained once and serve every later question about this dataset and model.")
    waiting.tell(replace(found.spec, device=spec.device), lambda: expected(spec, found))


def expected(spec: PoolSpec, found: Original) -> Forecast:
    """What training the pool is expected to take."""
    return forecast.shadows(backend().store, spec, len(found.ids), waiting.place(spec.device))


def audit(run: Run, found: Original) -> Audit | None:
    """The stored audit of a run by the largest pool that judged it, with U-LiRA if there is one; None without any."""
    if found.task != "classes":
        return None
    asked = [api.pool_spec(found, members, run.spec.device) for members in sorted({*COUNTS, usual(found)}, reverse=True)]
    specs = (AuditSpec(run.spec, pool, u_lira) for pool in asked for u_lira in (True, False))
    return next((there for spec in specs if (there := api.load_audit(backend().store, spec))), None)


def columns(found: Original, audited: Audit | None) -> pd.DataFrame | None:
    """Memorisation and difficulty by "id": from the judges of an audit, else from the choosing half; None without a pool."""
    there = table(found)
    if audited is None and there is None:
        return None
    view = audited.views["shadow_instances"] if audited else there.arrays
    return pd.DataFrame({"id": view["ids"], "memorisation": view["memorisation"], "difficulty": view["difficulty"]})


def saw(audited: Audit | None, instance: int) -> dict[str, float] | None:
    """The bell of judging shadows that saw an instance, or None where nobody knows."""
    if audited is None:
        return None
    view = audited.views["shadow_instances"]
    at = int(np.flatnonzero(view["ids"] == instance)[0])
    bell = {name: float(view[f"saw.{name}"][at]) for name in ("mean", "scale", "dof")}
    return bell if np.isfinite(list(bell.values())).all() else None


def ask(found: Original) -> None:
    """The button that trains the pool, or its progress."""
    members = members_field(st, found, "pool.members")
    spec, store = api.pool_spec(found, members, opening.device_now(found)), backend().store
    job = store.job(spec.key)
    if job and job.status != "done":
        again, told = lambda: api.submit_pool(store, spec), lambda: expected(spec, found)
        jobs.panel(spec.key, "the shadow models", again, curves=False, expected=told)
        return
    cost(spec, found)
    if st.button("Train the shadow models", key="pool.train", icon=":material/groups:"):
        api.submit_pool(store, spec)
        st.rerun()
