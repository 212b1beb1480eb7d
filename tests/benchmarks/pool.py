"""Which shadow pool judges exact retrains best, and what verdicts cost: `python tests/benchmarks/pool.py` prints Markdown tables.

A pool is right if it flags ALPHA of the exact retrains' answers on forgotten points in each direction. Splits, forget sets,
retrains and pools are drawn anew SPLITS times; both halves of a pool judge, and no retrain that they judge gave the correction.
What the original, which saw the points, gets called shows how much a pool can see.
"raw": the pool's own bells; "corrected" by retrains' answers on all that they never learned; "by own": on the forgotten points alone.
"""

import statistics
import sys
import time
from collections import defaultdict
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "benchmarks")]

import numpy as np  # noqa: E402
from loop import hardware, show  # noqa: E402

from unlearn_core import data, models, projection, seeds  # noqa: E402
from unlearn_core.data.choose import draw  # noqa: E402
from unlearn_core.evidence import forgetting_quality as fq  # noqa: E402
from unlearn_core.evidence import verdicts  # noqa: E402
from unlearn_core.evidence.attacks import logit_scaled_confidence  # noqa: E402
from unlearn_core.models import ensemble, pool, training  # noqa: E402
from unlearn_core.models.device import settle  # noqa: E402
from unlearn_core.params import resolve  # noqa: E402

DATASETS = {"digits": {}, "breast_cancer": {}, "moons": {"mislabelled": 0.1}, "wine": {}}
DESIGNS = {"all, as many as train": ("all", None), "train, 7/8": ("train", None), "all, 0.5": ("all", 0.5), "all, 0.8": ("all", 0.8)}
FORGET = {"random": 50, "hardest": 50, "cluster": 20}
MOST = 0.1  # of the training split in one forget set
SPLITS = 3  # times everything is drawn and trained anew
MEMBERS, JUDGED, CORRECTING = 64, 9, 3
COLUMNS = [f"{variance}, {when}" for variance in ("per", "nig") for when in ("raw", "corrected", "by own")]
CORRECTED = [j for j, column in enumerate(COLUMNS) if column.endswith("corrected")]
REPEATS = 3
DEVICE = "cpu"


class Bench:
    """A dataset with its default MLP and many models of it."""

    def __init__(self, name: str, split: int = 0):
        self.split = split
        self.dataset = data.load(name, resolve(data.info(name).params, DATASETS[name] | {"split_seed": split}, name))
        self.train, self.info = self.dataset.splits.train, models.info("mlp")
        self.params = resolve(self.info.params, {}, "mlp")

    def fit(self, subsets: list[np.ndarray], *purpose: int | str) -> list:
        drawn = [seeds.derive("benchmark", self.split, *purpose, k) for k in range(len(subsets))]
        return ensemble.train_many(self.info, self.dataset, self.params, subsets, drawn, DEVICE)

    def phi(self, found: list) -> np.ndarray:
        """What the models say about all instances [K, N]."""
        answers = (training.predict(model, self.dataset.inputs, DEVICE) for model in found)
        return np.stack([logit_scaled_confidence(logits, self.dataset.labels) for logits in answers])

    @cached_property
    def original(self):
        return self.fit([self.train], "original")[0]

    def forget_set(self, kind: str) -> np.ndarray:
        count = min(FORGET[kind], int(MOST * len(self.train)))
        if kind == "random":
            return draw(self.train, count, self.split)
        if kind == "hardest":
            return self.train[np.argsort(self.phi([self.original])[0, self.train])[:count]]
        rows, _ = projection.nearest(training.read(self.original, self.dataset.inputs, DEVICE).features[self.train], count - 1)
        middle = np.random.default_rng(self.split).integers(len(rows))
        return self.train[np.append(rows[middle], middle)]


def shadow_pool(bench: Bench, design: str) -> tuple[list[tuple[np.ndarray, np.ndarray]], float]:
    """φ [K, N] and membership of both halves, and seconds of training them together."""
    name, share = DESIGNS[design]
    ids, count = pool.universe(bench.dataset.splits, name), pool.size(bench.dataset.splits, name, share)
    parts = [pool.subsets(ids, count, MEMBERS // 2, role, bench.split) for role in pool.ROLES]
    begun = time.perf_counter()
    found = bench.fit([subset for half in parts for subset in half], "pool")
    seconds = time.perf_counter() - begun
    keeps = [pool.membership(half, len(bench.dataset)) for half in parts]
    return list(zip(np.split(bench.phi(found), len(parts)), keeps, strict=True)), seconds


def shares(found: list[np.ndarray]) -> tuple[float, float, float]:
    """Share told apart and over-forgotten among what was judged, and share not judged, in percent."""
    every = np.concatenate([verdict.ravel() for verdict in found])
    known = every[every != verdicts.FEW]
    told, over = (100 * (known == name).mean() if len(known) else np.nan for name in (verdicts.STILL, verdicts.OVER))
    return told, over, 100 * (1 - len(known) / len(every))


def judged(bench: Bench, ids: np.ndarray, few: np.ndarray, others: np.ndarray, phi: np.ndarray, keep: np.ndarray) -> list[np.ndarray]:
    """Verdicts on what `others` say of the forgotten `ids`, from one half corrected with `few` exact retrains, for each of COLUMNS."""
    own = pool.membership([ids] * CORRECTING, len(bench.dataset))
    unseen = own | ~pool.membership([bench.train], len(bench.dataset))
    found = []
    for variance in dict.fromkeys(column.split(",")[0] for column in COLUMNS):
        raw = verdicts.never_seen(phi, ~keep, variance)
        for bell in (raw, *(verdicts.calibrate(raw, few, never).correction.apply(raw) for never in (unseen, own))):
            found.append(verdicts.judge(others, bell).verdict[:, ids])
    return found


def cell(found: tuple[float, float, float]) -> str:
    return with_skipped(f"{found[0]:.0f} / {found[1]:.0f}", found[2])


def off(found: list[tuple[float, float, float]]) -> str:
    """Mean distance of the flagged shares from ALPHA, in points; and what was not judged."""
    shown = np.array(found)
    return with_skipped(f"{np.abs(shown[:, :2] - 100 * verdicts.ALPHA).mean():.1f}", shown[:, 2].mean())


def with_skipped(shown: str, skipped: float) -> str:
    return ("—" if "nan" in shown else shown) + (f" ({skipped:.0f} not judged)" if skipped >= 0.5 else "")


def study() -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Rows of each design's mean error and cost, and of flagged shares for each dataset, forget set and design."""
    designs, rows = [], []
    for name in DATASETS:
        verdict, counts, left, seconds = defaultdict(list), {}, defaultdict(list), defaultdict(list)
        for split in range(SPLITS):
            bench = Bench(name, split)
            forget = {kind: bench.forget_set(kind) for kind in FORGET}
            kept = {kind: [np.setdiff1d(bench.train, ids)] * (JUDGED + CORRECTING) for kind, ids in forget.items()}
            retrained = {kind: bench.phi(bench.fit(kept[kind], "retrained", kind)) for kind in FORGET}
            others = {kind: np.vstack([phi[CORRECTING:], bench.phi([bench.original])]) for kind, phi in retrained.items()}
            for design in DESIGNS:
                halves, took = shadow_pool(bench, design)
                seconds[design].append(took)
                counts[design] = f"{int(halves[0][1][0].sum())} / {len(bench.train)}"
                for phi, keep in halves:
                    left[design].append((~keep[:, bench.train]).sum(axis=0))
                    for kind, ids in forget.items():
                        verdict[kind, design].append(judged(bench, ids, retrained[kind][:CORRECTING], others[kind], phi, keep))
        found, seen = (
            {key: [shares([one[rows] for one in column]) for column in zip(*each, strict=True)] for key, each in verdict.items()}
            for rows in (slice(-1), slice(-1, None))
        )
        for design in DESIGNS:
            errors = [off([found[kind, design][j] for kind in FORGET]) for j in range(len(COLUMNS))]
            power = " / ".join(f"{np.mean([seen[kind, design][j][0] for kind in FORGET]):.0f}" for j in CORRECTED)
            never = f"{np.min(left[design])} / {np.mean(left[design]):.1f}"
            designs.append((name, design, counts[design], *errors, power, never, f"{statistics.median(seconds[design]):.1f} s"))
        rows += [(name, f"{len(forget[kind])} {kind}", design, *map(cell, found[kind, design])) for kind in FORGET for design in DESIGNS]
    return designs, rows


def costs() -> list[tuple[str, ...]]:
    """What verdicts from retrained models of 50 digits cost, and forgetting quality; medians."""
    bench = Bench("digits")
    gone = draw(bench.train, 50, 0)
    kept = np.setdiff1d(bench.train, gone)
    original = bench.phi([bench.original])[0, gone]
    bench.fit([kept] * 2, "warm")

    def clock(work) -> tuple[float, object]:
        begun = time.perf_counter()
        found = work()
        return time.perf_counter() - begun, found

    def judge(phi: np.ndarray) -> None:
        never = verdicts.never_seen(phi)
        found, beside = verdicts.judge(original, never), verdicts.judge_each(phi)
        verdicts.waffle(found.verdict, beside.verdict)
        verdicts.uniformity(found.p, beside.p)
        verdicts.share_of_the_way(original, phi[0], never)
        verdicts.rank_p(original, phi)

    rows = []
    for count, goal in ((16, "≤ 2 s"), (64, "≤ 5 s")):
        fitting, judging = [], []
        for _ in range(REPEATS):
            seconds, found = clock(lambda count=count: bench.fit([kept] * count, "retrained"))
            fitting.append(seconds)
            judging.append(clock(lambda found=found: judge(bench.phi(found)[:, gone]))[0])
        fitted, done = statistics.median(fitting), statistics.median(judging)
        rows.append(
            (
                f"verdicts on 50 digits from K = {count} retrained MLPs",
                f"{fitted + done:.2f} s: {fitted:.2f} training, {done:.3f} judging",
                goal,
            )
        )
    rng = np.random.default_rng(0)
    unlearned, retrained = rng.normal(size=(64, 50)), rng.normal(size=(128, 50))
    for rule, goal in zip(fq.RULES, ("≤ 0.2 s", "—"), strict=True):
        seconds = statistics.median(
            clock(lambda rule=rule: fq.forgetting_quality(unlearned, retrained, rule=rule))[0] for _ in range(REPEATS)
        )
        rows.append((f"forgetting quality of 50 instances, 64 against 2 × 64 models, {rule} rules", f"{seconds:.2f} s", goal))
    return rows


if __name__ == "__main__":
    settle()
    where = f"{hardware()}, {time.strftime('%Y-%m-%d')}"
    show(f"What verdicts cost, {where}, median of {REPEATS}", ("what", "measured", "goal"), costs())
    if "--costs-only" in sys.argv:
        sys.exit()
    designs, rows = study()
    told = f"untouched original {verdicts.STILL}, {' / '.join(COLUMNS[j] for j in CORRECTED)}, in %"
    right = f"{100 * verdicts.ALPHA:.0f}"
    show(
        f"Shadow pools of {MEMBERS} models by design, {where}: mean distance of the shares below from {right} %, in points",
        ("dataset", "universe, share", "subset / train", *COLUMNS, told, "left-out models in a half, min / mean", f"training {MEMBERS}"),
        designs,
    )
    show(
        f"Exact retrains called {verdicts.STILL} / {verdicts.OVER} by half a pool, in %; {right} / {right} is right",
        ("dataset", "forget set", "universe, share", *COLUMNS),
        rows,
    )
