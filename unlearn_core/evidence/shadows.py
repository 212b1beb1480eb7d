"""What attacks with shadow models find: each instance compared with models that did and did not see it.

The shadows are the judging half of a pool, which neither chose the instances nor gave a method its targets. Test
instances are in the pool's universe too, so they serve as the never-seen side. Computed in an audit of a run only.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unlearn_core.evidence.across import share_interval, stacked
from unlearn_core.evidence.attacks import auc, auc_chance, auc_interval, confidences, false_alarms, roc, too_few, tpr_at_fpr
from unlearn_core.evidence.base import Definition, Evidence, Findings, Measure, Subject, missing, per_model
from unlearn_core.evidence.readable import explained, readable

NO_MODEL = "there is no unlearned model"
NO_POOL = "no shadow models were asked for: audit this run with a shadow pool"
NO_U_LIRA = "the method was not run on the shadow models"
ONE_SIDED = "no shadow model both saw and missed an instance"
FALSE_ALARMS = 10  # a rate read from fewer false alarms than this is a matter of luck
RATES = (0.001, 0.01, 0.05)
ATTACKS = {"lira_online": "LiRA, online", "lira_offline": "LiRA, offline", "rmia_online": "RMIA, online", "rmia_offline": "RMIA, offline"}
LIRA, RMIA, HAYES = "Carlini et al., arXiv:2112.03570", "Zarifzadeh et al., arXiv:2312.03262", "Hayes et al., arXiv:2403.01218"
GROUPS = 16  # of models, for the jackknife


def _attack(name: str, how: str, source: str) -> Definition:
    return Definition(
        f"shadows.{name}",
        f"Forgotten or never seen? ({ATTACKS[name]})",
        f"Chance that the attack ranks a forgotten instance above a test instance. {how} The ideal is what retraining gives: instances "
        "that were picked together also miss each other's support, which single shadows do not show.",
        "AUC",
        source=source,
    )


EVIDENCE = Evidence(
    name="shadows",
    title="Shadow models",
    version=1,
    order=80,
    definitions=(
        _attack(
            "lira_online",
            "It weighs, for each instance, what shadow models say that saw it against those that did not.",
            f"{LIRA}, algorithm 1",
        ),
        _attack(
            "lira_offline",
            "It asks how unusual the confidence would be for a shadow model that never saw the instance.",
            f"{LIRA}, equation 4",
        ),
        _attack("rmia_online", "It asks how often the instance gained more probability than population points that no model saw.", RMIA),
        _attack("rmia_offline", "As RMIA online, from shadow models that never saw the instance only.", RMIA),
        Definition(
            "shadows.lira_found",
            "Forgotten instances found at few false alarms (LiRA, online)",
            "Share of forgotten instances found when only a small share of test instances may be wrongly accused: the smallest of 0.1, 1 and "
            "5 % at which there are ten false alarms to count. The ideal is what retraining gives.",
            "share",
            source=LIRA,
        ),
        Definition(
            "shadows.told_apart",
            "Still told apart (pool)",
            "Share of forgotten instances about which the model is surer than shadow models that never saw them, each judged at 5 %. An "
            "estimate: shadows miss other instances than retrained models do, so the pool is corrected and checked on exact retrains.",
            "share",
            verdict=False,
            source=LIRA,
        ),
        Definition(
            "shadows.over_forgotten",
            "Over-forgotten (pool)",
            "Share of forgotten instances about which the model is less sure than shadow models that never saw them, each judged at 5 %.",
            "share",
            verdict=False,
            source=LIRA,
        ),
        Definition(
            "shadows.u_lira",
            "Forgotten or never seen, after the same method? (U-LiRA)",
            "The method is run on every shadow model; the attack then tells shadows that had to forget an instance from shadows that never saw "
            "it, each judged by the others. 0.5 means that forgetting leaves nothing to find; exact retraining gives 0.5 by construction. "
            "Original: the same before unlearning.",
            "AUC",
            verdict=False,
            source=f"{HAYES} (null: never seen, then the same method)",
        ),
        Definition(
            "shadows.u_lira_retrain",
            "Forgotten or retrained? (U-LiRA)",
            "As above, against shadows that never saw the instance and were not unlearned at all: can the method be told from retraining?",
            "AUC",
            verdict=False,
            source=f"{HAYES} (null: retrained)",
        ),
        Definition(
            "shadows.looks_forgotten",
            "More like forgotten than never seen (U-LiRA)",
            "Share of forgotten instances on which this very model answers more like shadows that forgot the instance by this method than like "
            "shadows that never saw it.",
            "share",
            verdict=False,
            source=HAYES,
        ),
        Definition(
            "shadows.forgetting_quality",
            "Forgetting quality F, over its null",
            "Score of the 2023 unlearning competition from many unlearned and retrained models, divided by what retrained against "
            "retrained models get: about 1 for exact retraining, 0 when every instance gives the method away.",
            "ratio",
            verdict=False,
            source="Triantafillou et al., arXiv:2406.09073",
        ),
    ),
)


def compute(subject: Subject) -> Findings:
    """All attacks of an audit; without shadows every measure says why it is missing.

    Views: "shadow_instances", n forgotten instances: ids, label; original, unlearned [n], retrained [k, n] φ; never.* and saw.* (mean,
    scale, dof, n) of the corrected never-seen and the saw-it bell; p, verdict, verdict_original; memorisation, difficulty, exposure;
    "shadow_roc": fpr [j] and "<attack>.<who>" shares found; "shadow_check": text, and why verdicts are refused ("" if they are not).
    """
    subject, reason = readable(subject, features=False)
    if subject.shadows is None:
        reason = reason if subject.unlearned is None and reason else NO_POOL
    else:
        subject, lost = _sound(subject)
        reason = "; ".join(text for text in (reason, lost) if text)
    if subject.shadows is None or subject.unlearned is None or not len(subject.shadows.keep):
        return Findings([missing(d.id, "forget", reason or NO_MODEL, len(subject.forget)) for d in EVIDENCE.definitions])
    from unlearn_core.evidence import pooled

    pool = pooled.Pooled.of(subject)
    measures, curves = _attacks(subject, pool)
    verdicts, views = pooled.judged(subject, pool)
    found = Findings([*measures, *verdicts, *_after_unlearning(subject, pool), _quality(subject)], {"shadow_roc": curves} | views)
    return explained(found, subject, reason) if reason else found


def _sound(subject: Subject) -> tuple[Subject, str | None]:
    """`subject` with only the shadows that answer with numbers, before and after the method, and what to say of the others."""
    shadows = subject.shadows
    kinds = [logits for logits in (shadows.logits, shadows.unlearned) if logits is not None]
    good = np.all([np.isfinite(logits).all(axis=(1, 2)) for logits in kinds], axis=0)
    again = shadows.again if shadows.again is None else shadows.again[np.isfinite(shadows.again).all(axis=(1, 2))]
    unlearned = shadows.unlearned if shadows.unlearned is None else shadows.unlearned[good]
    lost = f"{(~good).sum()} of {len(good)} shadow models diverged and were left out" if not good.all() else None
    return replace(
        subject, shadows=replace(shadows, logits=shadows.logits[good], keep=shadows.keep[good], unlearned=unlearned, again=again)
    ), lost


def _attacks(subject: Subject, pool) -> tuple[list[Measure], dict[str, np.ndarray]]:
    members, others, measures, curves = np.sort(subject.forget), subject.splits.test, [], {}
    for name in ATTACKS:
        score, why = pool.attack(name)
        if score is None:
            measures.append(missing(f"shadows.{name}", "forget", why, len(members)))
            continue
        scores = {who: score(who) for who in subject.names()}
        known = np.isfinite(scores["original"])
        ins, outs = members[known[members]], others[known[others]]
        if not len(ins) or not len(outs):
            measures.append(missing(f"shadows.{name}", "forget", "too few shadow models saw, or never saw, these instances", len(members)))
            continue
        measures.append(_separation(subject, name, scores, ins, outs))
        curves |= _curve(subject, name, scores, ins, outs)
        if name == "lira_online":
            measures.append(_found(subject, scores, ins, outs))
    if not any(m.family == "shadows.lira_found" for m in measures):
        measures.append(missing("shadows.lira_found", "forget", "LiRA online was not computed", len(members)))
    return measures, curves


def _curve(subject: Subject, name: str, scores: dict[str, np.ndarray], ins: np.ndarray, outs: np.ndarray) -> dict[str, np.ndarray]:
    at = false_alarms(len(outs))
    drawn = stacked(subject, lambda who: roc(scores[who][ins], scores[who][outs])[at])
    return {f"{name}.fpr": at / len(outs)} | {f"{name}.{who}": values for who, values in drawn.items()}


def _separation(subject: Subject, name: str, scores: dict[str, np.ndarray], ins: np.ndarray, outs: np.ndarray) -> Measure:
    n, m = len(ins), len(outs)
    value = lambda who: auc(scores[who][ins], scores[who][outs])  # noqa: E731
    ci = auc_interval(scores["unlearned"][ins], scores["unlearned"][outs])
    found = per_model(
        subject, f"shadows.{name}", "forget", value, n=n, resolution=1 / (n * m), null=auc_chance(n, m), ci=ci, reliability="estimate"
    )
    return replace(found, refused=too_few(found.original, found.unlearned, n, m))


def _found(subject: Subject, scores: dict[str, np.ndarray], ins: np.ndarray, outs: np.ndarray) -> Measure:
    id, n = "shadows.lira_found", len(ins)
    rate = next((rate for rate in RATES if rate * len(outs) >= FALSE_ALARMS), None)
    if rate is None:
        return missing(id, "forget", f"even at 5 % it needs {FALSE_ALARMS / RATES[-1]:.0f} test instances, there are {len(outs)}", n)
    value = lambda who: tpr_at_fpr(scores[who][ins], scores[who][outs], rate)  # noqa: E731
    ci = share_interval(round(value("unlearned") * n), n)
    said = f"read at {rate:.1%} false alarms"
    return per_model(subject, id, "forget", value, n=n, resolution=1 / n, ci=ci, null=(rate, rate), reliability="estimate", reason=said)


def _after_unlearning(subject: Subject, pool) -> list[Measure]:
    """U-LiRA: what can be told from shadows on which the method was run."""
    n = len(subject.forget)
    if subject.shadows.unlearned is None:
        return [missing(f"shadows.{name}", "forget", NO_U_LIRA, n) for name in ("u_lira", "u_lira_retrain", "looks_forgotten")]
    before = leave_one_out(pool.forgotten, pool.forgotten, pool.keep_forgotten)
    found = []
    for name, negatives in (("u_lira", pool.unlearned), ("u_lira_retrain", pool.forgotten)):
        after = leave_one_out(pool.unlearned, negatives, pool.keep_forgotten)
        said = "retraining gives 0.5 by construction, so no shadows were retrained" if after else ONE_SIDED
        found.append(
            Measure(
                f"shadows.{name}.forget",
                "forget",
                before and before[0],
                after and after[0],
                ci=after and after[1:],
                null=(0.5, 0.5),
                reliability="estimate",
                reason=said,
                n=n,
            )  # fmt: skip
        )
    known = np.isfinite(pool.u_lira("original"))
    if not known.any():
        return [*found, missing("shadows.looks_forgotten", "forget", ONE_SIDED, n)]
    looks = lambda who: float(np.mean(pool.u_lira(who)[known] > 0))  # noqa: E731
    n = int(known.sum())
    return [*found, per_model(subject, "shadows.looks_forgotten", "forget", looks, n=n, resolution=1 / n, reliability="estimate")]


def leave_one_out(positive: np.ndarray, negative: np.ndarray, keep: np.ndarray) -> tuple[float, float, float] | None:
    """AUC with a 95 % interval of telling φ of models that saw an instance from φ of models that did not, each judged by others.

    positive, negative: φ [K, n] of the same K models, read where `keep` [K, n] is True and where it is False. The bells
    that judge a model leave out one model of the other side too: without only itself it would always look unlike
    its own side, and where there is nothing to tell the AUC would be below 0.5 (0.44 for 8 models). Interval: jackknife over
    GROUPS of models with the bells fitted anew, since one model's instances move together and share the bells. None
    where no model can be judged.
    """
    from scipy.stats import t

    def value(rows: np.ndarray) -> float:
        scores, saw = _leave_one_out(positive[rows], negative[rows], keep[rows]), keep[rows]
        known = np.isfinite(scores)
        ins, outs = scores[saw & known], scores[~saw & known]
        return auc(ins, outs) if len(ins) and len(outs) else np.nan

    many = len(keep)
    middle = value(np.arange(many))
    if np.isnan(middle):
        return None
    without = np.array([value(np.flatnonzero(np.arange(many) % GROUPS != g)) for g in range(min(GROUPS, many))])
    without = without[np.isfinite(without)]
    groups = len(without)
    if groups < 2:
        return middle, 0.0, 1.0
    if not np.ptp(without):  # full separation has no spread of its own, yet few models cannot prove it
        return middle, *share_interval(round(middle * many), many)
    half = float(t.ppf(0.975, groups - 1)) * float(np.sqrt((groups - 1) / groups * ((without - without.mean()) ** 2).sum()))
    return middle, max(middle - half, 0.0), min(middle + half, 1.0)


def _leave_one_out(positive: np.ndarray, negative: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Log-density of each model's φ as one that saw the instance minus as one that did not, [K, n] nats; see `leave_one_out`."""
    from unlearn_core.evidence.pool_attacks import bell_of

    other = _next_on_the_other_side(keep)
    itself = np.broadcast_to(np.arange(len(keep))[:, None], keep.shape)
    phi, densities = np.where(keep, positive, negative), []
    for values, side in ((positive, keep), (negative, ~keep)):
        n = side.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(side, values, 0.0).sum(axis=0) / n
            centred = np.where(side, values - mean, 0.0)
            gone = np.take_along_axis(centred, np.where(side, itself, other), axis=0)
            squares = np.where(n > 1, (centred * centred).sum(axis=0) - gone * gone * n / (n - 1), 0.0)
            left = bell_of(np.broadcast_to(n - 1, keep.shape), mean - gone / (n - 1), np.maximum(squares, 0.0), "nig")
            densities.append(left.log_density(phi))
    return np.where(other < 0, np.nan, densities[0] - densities[1])


def _next_on_the_other_side(keep: np.ndarray) -> np.ndarray:
    """Row of the next model, going round, that did see an instance if this one did not and the reverse, [K, n]; −1 if there is none."""
    found = np.full(keep.shape, -1)
    for ahead in range(len(keep) - 1, 0, -1):
        rows = (np.arange(len(keep)) + ahead) % len(keep)
        found = np.where(keep[rows] != keep, rows[:, None], found)
    return found


def _quality(subject: Subject) -> Measure:
    id, again, retrained = "shadows.forgetting_quality", subject.shadows.again, subject.retrained
    from unlearn_core.evidence import forgetting_quality as quality

    if subject.shadows.unlearned is None:
        return missing(id, "forget", "the method was not run again with other seeds", len(subject.forget))
    if len(retrained) < 2 * quality.LEAST:
        return missing(id, "forget", f"it needs {2 * quality.LEAST} retrained models, there are {len(retrained)}", len(subject.forget))
    if again is None or len(again) < quality.LEAST:
        return missing(id, "forget", f"it needs {quality.LEAST} further runs of the method that give numbers", len(subject.forget))
    rows, labels = subject.forget, subject.labels[subject.forget]
    phi = [confidences(logits, labels) for logits in (again[:, rows], np.stack([one.logits[rows] for one in retrained]))]
    found = quality.forgetting_quality(*phi, seed=subject.seed)
    null = (found.null_low, found.null_high)
    return Measure(f"{id}.forget", "forget", None, found.ratio, null=null, reliability="estimate", reason=found.text, n=len(rows))
