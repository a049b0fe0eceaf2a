"""Which unit of a group leaves next, judged by the layers that read it: second moments in, an order and its errors out.

Importing this package registers every consumer criterion; a new one is a file, and a line here.
"""

from onnxprune.score.consumers import lasso as _lasso
from onnxprune.score.consumers import obd_output as _obd_output
from onnxprune.score.consumers import obs as _obs
from onnxprune.score.consumers import thinet as _thinet
from onnxprune.score.consumers import wanda as _wanda
from onnxprune.score.consumers.moments import Consumer, Removal
from onnxprune.score.consumers.obs import refit_errors
from onnxprune.score.consumers.registry import ConsumerCriterion, consumer_criterion, criteria, get

_CRITERIA = (_lasso, _obd_output, _obs, _thinet, _wanda)

__all__ = ["Consumer", "ConsumerCriterion", "Removal", "consumer_criterion", "criteria", "get", "refit_errors"]
