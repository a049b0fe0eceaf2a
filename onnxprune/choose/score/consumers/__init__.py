"""Which unit of a group leaves next, judged by the layers that read it: second moments in, an order and its errors out.

Importing this package registers every consumer criterion; a new one is a file, and a line here.
"""

from onnxprune.choose.score.consumers import lasso as _lasso
from onnxprune.choose.score.consumers import obd_output as _obd_output
from onnxprune.choose.score.consumers import obs as _obs
from onnxprune.choose.score.consumers import thinet as _thinet
from onnxprune.choose.score.consumers import wanda as _wanda
from onnxprune.choose.score.consumers.moments import Consumer, Removal
from onnxprune.choose.score.consumers.obs import refit_errors
from onnxprune.choose.score.consumers.registry import ConsumerCriterion, consumer_criterion, criteria, get

_CRITERIA = (_lasso, _obd_output, _obs, _thinet, _wanda)

__all__ = ["Consumer", "ConsumerCriterion", "Removal", "consumer_criterion", "criteria", "get", "refit_errors"]
