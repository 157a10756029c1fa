"""Every method by its name, in the order of Table 2 of arXiv 2606.14997, ours last."""

from __future__ import annotations

from mnemotomy.methods.base import Method
from mnemotomy.methods.engram import EngramGrid, EngramPaper
from mnemotomy.methods.engram_automatic import EngramAutomatic
from mnemotomy.methods.engram_outputs import EngramOutputs
from mnemotomy.methods.engram_projector import EngramProjector
from mnemotomy.methods.engram_recalibrated import EngramRecalibrated
from mnemotomy.methods.fine_tune import FineTune
from mnemotomy.methods.l1_sparse import L1Sparse
from mnemotomy.methods.neggrad import NegGrad
from mnemotomy.methods.neggrad_plus import NegGradPlus
from mnemotomy.methods.random_label import RandomLabel
from mnemotomy.methods.retrain import Retrain
from mnemotomy.methods.salun import SalUn
from mnemotomy.methods.two_sided import TwoSided

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
