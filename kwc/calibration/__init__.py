"""Statistics of how a model uses its weights on data, for the algorithms that ask for them."""

from kwc.calibration.calibrator import Calibrator
from kwc.calibration.network import ModelCalled
from kwc.calibration.settings import Calibration, as_calibration

__all__ = ["Calibration", "Calibrator", "ModelCalled", "as_calibration"]
