"""Remakes golden.json: inputs, and what independent programs make of them.

    python -m venv peers && peers/bin/pip install statsmodels==0.15.0 scikit-learn==1.9.1 scipy==1.17.1 \
        confidenceinterval==1.0.5 MLstatkit==0.1.91 MAPIE==1.6.0 && peers/bin/python remake.py > golden.json

Obuchowski's variance, APS without random numbers and the curve of error against coverage have no Python package at hand:
they are written out here, sharing nothing with the Rust code.
"""
import json
import warnings

import numpy as np
import sklearn, scipy, statsmodels
import statsmodels.api as sm
from MLstatkit import Delong_test
from confidenceinterval import roc_auc_score as delong_interval
from mapie.classification import SplitConformalClassifier
from scipy import optimize, special, stats
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from statsmodels.stats.contingency_tables import Table2x2
from statsmodels.stats.proportion import proportion_confint

warnings.filterwarnings("ignore")
rng = np.random.default_rng(20261125)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def clustered(n_patients, effect, digits):
    """Patients with one to six images; images of a patient share a random effect."""
    y, a, b, patient = [], [], [], []
    for k in range(n_patients):
        positive = k % 5 < 3
        shared = rng.normal()
        for _ in range(rng.integers(1, 7)):
            signal = effect * positive + 0.8 * shared
            y.append(int(positive)); patient.append(k)
            a.append(round(float(sigmoid(signal + rng.normal() - effect / 2)), digits))
            b.append(round(float(sigmoid(0.6 * signal + 1.2 * rng.normal() - effect / 3)), digits))
    return np.array(y), np.array(a), np.array(b), np.array(patient)


def obuchowski(y, s, patient):
    x, z = s[y == 1], s[y == 0]
    m, n = len(x), len(z)
    psi = (x[:, None] > z[None, :]) + 0.5 * (x[:, None] == z[None, :])
    auc = psi.mean()
    v10, v01 = psi.mean(axis=1), psi.mean(axis=0)
    px, pz = patient[y == 1], patient[y == 0]
    ids = np.unique(patient)
    t10 = np.array([(v10[px == i] - auc).sum() for i in ids])
    t01 = np.array([(v01[pz == i] - auc).sum() for i in ids])
    i10, i01, i = len(np.unique(px)), len(np.unique(pz)), len(ids)
    s10 = i10 / ((i10 - 1) * m) * (t10 ** 2).sum()
    s01 = i01 / ((i01 - 1) * n) * (t01 ** 2).sum()
    s11 = i / (i - 1) * (t10 * t01).sum()
    return auc, s10 / m + s01 / n + 2 * s11 / (m * n)


out = {"tools": {"numpy": np.__version__, "scikit-learn": sklearn.__version__, "scipy": scipy.__version__,
                 "statsmodels": statsmodels.__version__, "confidenceinterval": "1.0.5", "MLstatkit": "0.1.91", "MAPIE": "1.6.0"}}

out["normal_quantile"] = [[p, float(stats.norm.ppf(p))] for p in (1e-12, 0.0005, 0.00625, 0.0125, 0.025, 0.3, 0.5, 0.9, 0.9999)]
out["normal_cdf"] = [[z, float(stats.norm.cdf(z))] for z in (-8.0, -3.1, -1.96, -0.2, 0.0, 0.7, 2.5, 6.0)]
out["beta"] = [[x, a, b, float(special.betainc(a, b, x)), float(stats.beta.ppf(x, a, b))]
               for x, a, b in ((0.025, 45, 6), (0.975, 46, 5), (0.3, 0.7, 1.3), (0.01, 300, 14), (0.6, 1, 500), (0.5, 8, 8))]
out["proportion"] = [[x, n, level, *map(float, proportion_confint(x, n, 1 - level, "wilson")),
                      *map(float, proportion_confint(x, n, 1 - level, "beta"))]
                     for level in (0.95, 0.975) for x, n in ((45, 50), (0, 20), (20, 20), (1, 313), (303, 313), (169, 187))]

cases = []
for n_patients, effect, digits in ((60, 1.5, 6), (60, 1.5, 1), (200, 4.0, 6)):
    y, a, b, patient = clustered(n_patients, effect, digits)
    auc, (low, high) = delong_interval(y, a, confidence_level=0.95)
    z, p, (first_low, first_high) = Delong_test(y, a, b)[:3]  # limits cut to 0 and 1
    area, variance = obuchowski(y, a, patient)
    assert abs(area - roc_auc_score(y, a)) < 1e-12 and abs(auc - area) < 1e-6  # single precision there
    cases.append({"outcome": y.tolist(), "a": a.tolist(), "b": b.tolist(), "patient": patient.tolist(),
                  "auc_a": float(roc_auc_score(y, a)), "auc_b": float(roc_auc_score(y, b)),
                  "delong": [float(first_low), float(first_high)], "delong_single_precision": [float(low), float(high)],
                   "difference_z": float(z), "difference_p": float(p),
                  "obuchowski_variance": float(variance)})
out["auc"] = cases

p = np.sort(rng.uniform(0.02, 0.98, 300)).round(6)
assert len(set(p)) == 300
y = (rng.uniform(size=300) < sigmoid(0.4 + 0.7 * np.log(p / (1 - p)))).astype(int)
order = rng.permutation(300)
p, y = p[order], y[order]
observed, mean = calibration_curve(y, p, n_bins=15, strategy="quantile")
assert len(observed) == 15
logit = np.log(p / (1 - p))
line = sm.GLM(y, sm.add_constant(logit), family=sm.families.Binomial()).fit(tol=1e-14, maxiter=200)
large = sm.GLM(y, np.ones((300, 1)), family=sm.families.Binomial(), offset=logit).fit(tol=1e-14, maxiter=200)
z = ((y - p) * (1 - 2 * p)).sum() / np.sqrt(((1 - 2 * p) ** 2 * p * (1 - p)).sum())
out["calibration"] = {"p": p.tolist(), "outcome": y.tolist(), "brier": float(brier_score_loss(y, p)),
                      "ece": float(np.abs(observed - mean).mean()),
                      "slope": float(line.params[1]), "slope_error": float(line.bse[1]),
                      "intercept": float(large.params[0]), "intercept_error": float(large.bse[0]),
                      "spiegelhalter_z": float(z), "spiegelhalter_p": float(2 * stats.norm.sf(abs(z)))}

tables = []
for tp, fn, fp, tn in ((303, 10, 18, 169), (45, 5, 9, 41)):
    plus, minus = Table2x2([[tp, fn], [fp, tn]]), Table2x2([[fn, tp], [tn, fp]])
    tables.append([tp, fn, fp, tn, float(plus.riskratio), *map(float, plus.riskratio_confint(0.05)),
                   float(minus.riskratio), *map(float, minus.riskratio_confint(0.05))])
out["likelihood_ratio"] = tables

sample = rng.gamma(1.5, size=80).round(6)
result = stats.bootstrap((sample,), np.mean, n_resamples=100_000, method="BCa", rng=np.random.default_rng(1))
percentile = stats.bootstrap((sample,), np.mean, n_resamples=100_000, method="percentile", rng=np.random.default_rng(2))
out["bootstrap_mean"] = {"sample": sample.tolist(), "bca": list(map(float, result.confidence_interval)),
                         "percentile": list(map(float, percentile.confidence_interval))}

# Trust: recalibration, conformal sets, abstention. A stream of its own, so that the figures above stay as they are.
rng = np.random.default_rng(20261126)
p, y = np.array(out["calibration"]["p"]), np.array(out["calibration"]["outcome"])
edges = np.linspace(0, 1, 11)
bins = np.searchsorted(edges[1:-1], p)
observed, mean = calibration_curve(y, p, n_bins=10, strategy="uniform")
mass = np.array([(bins == k).sum() for k in range(10) if (bins == k).any()])
gap = np.abs(observed - mean)
coarse = np.round(p, 1)  # many ties
fits = []
for values in (p, coarse):
    fit = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(values, y)
    grid = np.linspace(0, 1, 41)
    fits.append({"p": values.tolist(), "grid": grid.tolist(), "at": fit.predict(grid).tolist()})
logits = rng.normal(size=(200, 3)) * 2
right = np.array([rng.choice(3, p=special.softmax(row / 1.7)) for row in logits])
loss = lambda t: float(-np.mean(special.log_softmax(logits / t, axis=1)[np.arange(200), right]))
best = optimize.minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-12})
out["trust"] = {
    "outcome": y.tolist(),
    "width": {"ece": float((mass * gap).sum() / len(p)), "mce": float(gap.max()), "observed": observed.tolist(),
              "mean": mean.tolist(), "wilson": [list(map(float, proportion_confint(y[bins == k].sum(), (bins == k).sum(), 0.05, "wilson")))
                                                  for k in range(10) if (bins == k).any()]},
    "isotonic": fits,
    "temperature": {"logits": logits.tolist(), "right": right.tolist(), "value": float(best.x), "before": loss(1.0), "after": float(best.fun)},
}


class Given(BaseEstimator, ClassifierMixin):
    """A classifier whose probabilities are its input."""

    def fit(self, x, y):
        self.classes_ = np.arange(3)
        self.is_fitted_ = True
        return self

    def predict_proba(self, x):
        return x

    def predict(self, x):
        return x.argmax(axis=1)


probabilities = special.softmax(logits, axis=1)
given = Given().fit(None, None)
conformal = []
for alpha in (0.05, 0.1, 0.25):
    rule = SplitConformalClassifier(given, confidence_level=1 - alpha, conformity_score="lac")
    rule.conformalize(probabilities[:120], right[:120])
    _, sets = rule.predict_set(probabilities[120:])
    quantile = np.ravel(rule._mapie_classifier.conformity_score_function_.quantiles_)[0]
    conformal.append({"score": "lac", "alpha": alpha, "sets": sets[:, :, 0].astype(int).tolist(), "quantile": float(quantile)})
    # APS: MAPIE draws random numbers here, so the rule without them is written out.
    down = np.argsort(-probabilities, axis=1)
    total = np.empty_like(probabilities)
    np.put_along_axis(total, down, np.cumsum(np.take_along_axis(probabilities, down, 1), 1), 1)
    total[np.arange(len(total)), down[:, -1]] = 1  # all classes together, whatever the rounding
    scores = np.sort(total[np.arange(120), right[:120]])
    quantile = scores[int(np.ceil(121 * (1 - alpha))) - 1]
    conformal.append({"score": "aps", "alpha": alpha, "sets": (total[120:] <= quantile).astype(int).tolist(), "quantile": float(quantile)})
out["trust"]["probabilities"] = probabilities.tolist()
out["trust"]["conformal"] = conformal

sure = rng.permutation(400) / 400
wrong = rng.uniform(size=400) < 0.3 * (1 - sure)
order = np.argsort(-sure)
risk = np.cumsum(wrong[order]) / np.arange(1, 401)
best = np.cumsum(np.sort(wrong)) / np.arange(1, 401)
out["trust"]["selective"] = {"sure": sure.tolist(), "wrong": wrong.astype(int).tolist(), "area": float(risk.mean()),
                             "excess": float(risk.mean() - best.mean()),
                             "at": [[c, float(risk[int(np.ceil(c * 400 - 1e-9)) - 1])] for c in (0.5, 0.8, 0.95, 1.0)]}

print(json.dumps(out, indent=None, separators=(",", ":")))
