"""Every method by its name, in the order of Table 2 of arXiv 2606.14997, ours last."""

from __future__ import annotations

from mnemotomy.methods.classifiers.base import Method
from mnemotomy.methods.classifiers.engram import EngramGrid, EngramPaper
from mnemotomy.methods.classifiers.engram_automatic import EngramAutomatic
from mnemotomy.methods.classifiers.engram_outputs import EngramOutputs
from mnemotomy.methods.classifiers.engram_projector import EngramProjector
from mnemotomy.methods.classifiers.engram_recalibrated import EngramRecalibrated
from mnemotomy.methods.classifiers.fine_tune import FineTune
from mnemotomy.methods.classifiers.l1_sparse import L1Sparse
from mnemotomy.methods.classifiers.neggrad import NegGrad
from mnemotomy.methods.classifiers.neggrad_plus import NegGradPlus
from mnemotomy.methods.classifiers.random_label import RandomLabel
from mnemotomy.methods.classifiers.retrain import Retrain
from mnemotomy.methods.classifiers.salun import SalUn
from mnemotomy.methods.classifiers.two_sided import TwoSided

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Retrain,
        FineTune,
        NegGrad,
        NegGradPlus,
        L1Sparse,
        RandomLabel,
        SalUn,
        EngramPaper,
        EngramGrid,
        EngramRecalibrated,
        EngramOutputs,
        EngramProjector,
        EngramAutomatic,
        TwoSided,
    )
}
