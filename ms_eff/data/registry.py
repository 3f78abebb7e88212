"""Which data sets there are: name -> loader, imported only when built."""

from __future__ import annotations

import importlib

from ms_eff.data.base import DataSet
from ms_eff.data.settings import DataSettings

__all__ = ["build"]

_LOADERS = {
    "digits": "ms_eff.data.digits",
    "cifar10": "ms_eff.data.cifar10",
    "image_folder": "ms_eff.data.image_folder",
    "motion_cifar10": "ms_eff.data.motion",
    "motion_digits": "ms_eff.data.motion",
    "video_folder": "ms_eff.data.video",
    "ucf101": "ms_eff.data.ucf101",
    "synthetic": "ms_eff.data.synthetic",
    "text": "ms_eff.data.text",
    "language": "ms_eff.data.packed",
}


def build(settings: DataSettings) -> DataSet:
    """Return the data set of these settings.

    Raises:
        DataError: files are missing or damaged; the message names file, expected and found.

    >>> digits = build(DataSettings(name="digits", image_size=32))
    >>> digits.image_shape, len(digits.train), len(digits.test)
    ((1, 32, 32), 1437, 360)
    """
    data: DataSet = importlib.import_module(_LOADERS[settings.name]).load(settings)
    return data
