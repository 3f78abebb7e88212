"""The `data` block of a config; checked without importing mindspore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ms_eff.data.keys import with_defaults
from ms_eff.data.tables import Column
from ms_eff.errors import ConfigError
from ms_eff.section import Section

__all__ = ["Augment", "DataSettings", "Normalize"]

Augment = Literal["none", "flip", "crop_flip", "crop_alternate", "imagenet"]

_NATIVE_SIZE = {"digits": 8, "cifar10": 32, "motion_cifar10": 32, "motion_digits": 8}
_CHANNELS = {"digits": 1, "motion_digits": 1}  # the others have 3
_VIDEOS = ("video_folder", "ucf101")


class Normalize(Section):
    """Per-channel statistics that replace the data set's own, in pixel units of 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @field_validator("std")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if min(value, default=0.0) <= 0.0:
            raise ConfigError(f"data.normalize.std: {list(value)} must be above 0")
        return value


class DataSettings(Section):
    """Which samples, how large, how many, how augmented. Null takes the data set's own default.

    Attributes:
        name: `digits` (scikit-learn's, needs no file), `cifar10` (official binary layout),
            `image_folder` (root/train/<class>/*.jpg and root/val or test), `synthetic`. Clips:
            `motion_cifar10` and `motion_digits` (their pictures, moving), `video_folder`
            (root/train/<class>/ with mp4 or avi files, or folders of frames), `ucf101` (official
            layout). `text`: tables of labelled texts. `language`: plain text, to train language
            models on.
        root: folder of the files, for those that have some.
        image_size: side in pixels; a multiple of 8 for digits, of 32 for CIFAR-10.
        interpolation: `digits`, `cifar10`: how to enlarge.
        batch_size: per worker.
        global_batch_size: of all workers together, in place of `batch_size`: a job does the same
            steps, and can be resumed, on any number of workers that divides it.
        eval_batch_size: per worker; null: as `batch_size`.
        augment: of training images. `flip`: mirrored at random; `crop_flip`: shifted by up to an
            eighth of the side (4 pixels at 32) and mirrored, for image folders a random crop of the
            resized picture; `crop_alternate`: as `crop_flip`, but each picture is mirrored in every
            other epoch instead of at random (airbench, arXiv:2404.00498), not for image folders and
            videos; `imagenet`: random resized crop and mirror, image folders only. All frames of a
            clip alike; moving pictures take none, since a mirror turns a motion.
        cutout: `digits`, `cifar10`: side in pixels of a square that each training image loses, at
            another place in every epoch (arXiv:1708.04552).
        train_limit: train on the first so many images, evenly over the classes; null: all.
        test_limit: likewise for the test split.
        test_split: `digits`, `cifar10`: which images evaluation is on: `test`, or `held_out`, the
            training images that `train_limit` leaves out, so that settings can be chosen without a
            look at the test images. Null: `test`.
        drop_last: training leaves out the samples that fill no whole batch. Otherwise the last
            batch is filled up and the filling is marked by index -1.
        workers: threads that prepare a batch; null: one, or one a core for image folders. For
            videos, processes that decode; 0: none.
        normalize: mean and std in place of the data set's own.
        corrupt: `image_folder`, videos: `error` stops at an unreadable file, `skip` replaces it by
            the next readable one of its class, counts it in the results, and leaves it out of
            evaluation.
        frames: clips: frames a clip, T.
        task: moving pictures: `direction`, eight directions at two speeds; or `reversal`, whether
            the frames come in their order or backwards.
        fold: `ucf101`: which of the three published splits.
        train_size: `synthetic`: training images.
        test_size: `synthetic`: test images.
        num_classes: `synthetic`.
        channels: `synthetic`.
        seed: `synthetic`: another seed, another data set.
        tokenizer: `text`, `language`: a `tokenizer.json` in Hugging Face's format, or a folder
            that holds one, or GPT-2's `vocab.json` and `merges.txt`.
        train_file: `text`: table below `root`: .tsv or .txt (tabs, no quotes), .csv, .jsonl.
        test_file: `text`: likewise.
        text_column: `text`: a name in the table's header, or a number from 0 if it has none.
        pair_column: `text`: second text of a pair; null: there are no pairs.
        label_column: `text`: the classes, words or numbers.
        buckets: `text`: lengths in tokens that batches are padded to, rising; each is compiled
            once. Longer texts are cut at the last one.
        train_files: `language`: UTF-8 texts below `root`.
        test_files: `language`: likewise; left out, the end of every training file is the test text.
        test_share: `language`: that end, as a share of each file's tokens.
        block: `language`: tokens of a sample; the test text is judged in windows as long. Limits
            count blocks.
    """

    name: str = "digits"
    root: Path | None = None
    image_size: int = Field(8, ge=1)
    interpolation: Literal["nearest", "bilinear"] | None = None
    batch_size: int = Field(64, ge=1)
    global_batch_size: int | None = Field(None, ge=1)
    eval_batch_size: int | None = Field(None, ge=1)
    augment: Augment = "none"
    cutout: int | None = Field(None, ge=1)
    train_limit: int | None = Field(None, ge=1)
    test_limit: int | None = Field(None, ge=1)
    test_split: Literal["test", "held_out"] | None = None
    drop_last: bool = True
    workers: int | None = Field(None, ge=0)
    normalize: Normalize | None = None
    corrupt: Literal["error", "skip"] | None = None
    frames: int | None = Field(None, ge=1)
    task: Literal["direction", "reversal"] | None = None
    fold: int | None = Field(None, ge=1, le=3)
    train_size: int | None = Field(None, ge=1)
    test_size: int | None = Field(None, ge=1)
    num_classes: int | None = Field(None, ge=2)
    channels: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=0)
    tokenizer: Path | None = None
    train_file: str | None = None
    test_file: str | None = None
    text_column: Column | None = None
    pair_column: Column | None = None
    label_column: Column | None = None
    buckets: tuple[Annotated[int, Field(ge=4)], ...] | None = Field(None, min_length=1)
    train_files: tuple[str, ...] | None = Field(None, min_length=1)
    test_files: tuple[str, ...] | None = Field(None, min_length=1)
    test_share: float | None = Field(None, gt=0, lt=1)
    block: int | None = Field(None, ge=2)

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("name", "digits"), str):
            return given  # pydantic's own message is clear
        return with_defaults(given)

    @field_validator("test_split")
    @classmethod
    def _named_or_not(cls, value: str | None) -> str | None:
        return None if value == "test" else value  # one way to record it, as before it had a name

    @model_validator(mode="after")
    def _fits_the_set(self) -> DataSettings:
        native = _NATIVE_SIZE.get(self.name)
        if native and self.image_size % native:
            raise ConfigError(
                f"data.image_size: {self.image_size} for {self.name}, whose images are enlarged by "
                f"whole factors; use a multiple of {native}"
            )
        if self.augment == "imagenet" and self.name != "image_folder":
            raise ConfigError(
                f"data.augment: 'imagenet' is for image_folder; {self.name} takes none, flip or "
                "crop_flip"
            )
        if self.augment == "crop_alternate" and self.name in ("image_folder", *_VIDEOS):
            raise ConfigError(f"data.augment: {self.name} takes no 'crop_alternate'; use crop_flip")
        if self.name.startswith("motion") and self.augment != "none":
            raise ConfigError(
                f"data.augment: {self.augment!r} for {self.name}: a mirror turns a motion, and "
                "each clip starts elsewhere in every epoch as it is; use none"
            )
        if self.workers == 0 and self.name not in _VIDEOS:
            raise ConfigError(f"data.workers: 0 is for videos; {self.name} takes 1 or more")
        if self.test_split == "held_out" and self.train_limit is None:
            raise ConfigError(
                "data.test_split: 'held_out' is what data.train_limit leaves out of the training "
                "images, and there is no limit; set data.train_limit, or use test"
            )
        self._check_statistics()
        if self.name == "text":
            self._check_table()
        return self

    def _check_table(self) -> None:
        buckets = self.buckets or ()
        if list(buckets) != sorted(set(buckets)):
            raise ConfigError(f"data.buckets: {list(buckets)} must be rising lengths")
        columns = (self.text_column, self.pair_column, self.label_column)
        if len({type(column) for column in columns if column is not None}) > 1:
            raise ConfigError(
                f"data.text_column: columns {list(columns)}: give all by name (the table has a "
                "header) or all by number (it has none)"
            )

    def for_workers(self, workers: int) -> DataSettings:
        """Return the settings with the batch that each of so many workers takes.

        >>> DataSettings(global_batch_size=128).for_workers(4).batch_size
        32
        """
        whole = self.global_batch_size
        if whole is None:
            return self
        if whole % workers:
            raise ConfigError(
                f"data.global_batch_size = {whole}: {workers} workers cannot share it out; give a "
                f"multiple of {workers}, or another number of workers"
            )
        return self.model_copy(update={"batch_size": whole // workers})

    @property
    def image_channels(self) -> int:
        """Channels of the images."""
        return self.channels or _CHANNELS.get(self.name, 3)

    def statistics(
        self, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and std to normalise with: `normalize`, or else the given ones."""
        return (self.normalize.mean, self.normalize.std) if self.normalize else (mean, std)

    def _check_statistics(self) -> None:
        if self.normalize is None:
            return
        for key in ("mean", "std"):
            found = len(getattr(self.normalize, key))
            if found != self.image_channels:
                raise ConfigError(
                    f"data.normalize.{key}: {found} values, but images of {self.name} have "
                    f"{self.image_channels} channels; give one value a channel"
                )
