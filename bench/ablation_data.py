"""The data behind docs/ablations.md: reference volumes as DICOM series, their degraded copies, an archive.

`python bench/ablation_data.py VOLUMES SERIES OUT` takes the volumes that train/recipes/default.toml names,
folders of DICOM series and a brain template. It writes OUT/mr and OUT/ct (copies with labels.csv), OUT/both
(few copies of both) and OUT/archive (series whose headers tell the tube charge or field strength simulated).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_rescale
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from qagate.files import group
from train.demo.phantom import ct_slice, load_head, mr_slice
from train.demo.scan import ct_scan
from train.recipe_file import RECIPES
from train.references import Volume, read_volume
from train.simulated import write_simulated

SLICES = 7  #: of each series
CANVAS = 400  #: pixels, from which on a slice is averaged two by two
FIELD_MM = 380.0
MAS = 200.0  #: of a full dose
DOSES = (1.0, 0.5, 0.25, 0.1)
TESLA = (0.35, 0.55, 1.5, 3.0)
MR_NOISE = 0.02  #: standard deviation at 1.5 T, in units of the bright level
MR_ARTEFACTS = ("ghost", "edge_ghost", "noise", "coloured_noise")  #: RAD-IQMRI's
CT_ARTEFACTS = ("noise", "sparse", "motion", "blur")
BOTH_ARTEFACTS = ("noise", "motion", "blur")
SEVERITIES = (1.0, 3.0, 5.0)

#: Body part and kind of a volume, as a header would say; of those that are not named: head, t1.
_TOLD = {
    "clinical_T2": ("HEAD", "t2"), "mr_head_pd_fse_ax_papaya": ("HEAD", "pd"),
    "mr_abdomen_t1_3mm_totalseg": ("ABDOMEN", "t1"), "mr_abdomen_t2_cor_oro": ("ABDOMEN", "t2"),
    "mr_cardiac_gre_seg3d": ("HEART", "angio"), "mr_head_flair_stroke_stripped": ("HEAD", "flair"),
    "mr_head_t2_stroke_stripped": ("HEAD", "t2"), "mr_head_t2_fse_ax_adi": ("HEAD", "t2"),
    "example_ct": ("ABDOMEN", "soft"), "ct_cspine_sag_b50_oro": ("CSPINE", "bone"),
    "ct_liver_dome_dcmqi": ("ABDOMEN", "soft"), "ct_chest_cta_lungmask": ("CHEST", "soft"),
    "ct_chest_lidc0314_2mm": ("CHEST", "soft"), "ct_abdomen_siemens_mct": ("ABDOMEN", "soft"),
    "ct_head_ge_hispeed": ("HEAD", "soft"), "ct_headphantom_philips_std5mm": ("HEAD", "soft"),
    "template_ct": ("HEAD", "soft"),
}  # fmt: skip

#: Series taken whole: name -> subject, modality. The abdomen may be of the same person as a volume.
_SERIES = {
    "ct_abdomen_siemens_mct": ("totalseg_ct", "CT"), "ct_head_ge_hispeed": ("ge_head", "CT"),
    "ct_headphantom_philips_std5mm": ("head_phantom", "CT"), "mr_head_t1_defaced_pddl": ("pddl_head", "MR"),
}  # fmt: skip

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clean:
    """One reference volume."""

    name: str
    subject: str
    modality: str
    slices: tuple[Array, ...]


def references(folder: Path) -> Iterator[Clean]:
    """One volume a subject and contrast: the first plane, slices from its middle."""
    volumes = tomllib.loads((RECIPES / "default.toml").read_text(encoding="utf-8"))["volume"]
    for values in volumes:
        volume = Volume(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
        name = volume.file.partition(".")[0]
        if "native" in name:
            continue  # the same chest as ct_chest_lidc0314_2mm
        stack = np.moveaxis(read_volume(folder / volume.file), volume.planes[0], 2)
        middle = np.linspace(0.3, 0.7, SLICES) if stack.shape[2] > 2 * SLICES else np.linspace(0, 1, SLICES)
        places = sorted({round(at * (stack.shape[2] - 1)) for at in middle})
        yield Clean(
            name=name,
            subject=volume.subject,
            modality=volume.modality,
            slices=tuple(_slice(stack[:, :, place], volume) for place in places),
        )


def of_series(folder: Path) -> Iterator[Clean]:
    """One a series below the folder that `_SERIES` names."""
    for name, (subject, modality) in _SERIES.items():
        read = [pydicom.dcmread(path) for path in sorted((folder / name).glob("*.dcm"))]
        read.sort(key=lambda data: float(data.ImagePositionPatient[2]))
        places = sorted({round(at * (len(read) - 1)) for at in np.linspace(0.3, 0.7, SLICES)})
        pixels = [apply_rescale(read[place].pixel_array, read[place]).astype(np.float32) for place in places]
        slices = tuple(_halved(one, modality) for one in pixels)
        yield Clean(name=name, subject=subject, modality=modality, slices=slices)


def template() -> Iterator[Clean]:
    """A brain template, as MR and as CT; two subjects for what they share is little."""
    head = load_head()
    heights = [float(z) for z in np.linspace(-15, 35, SLICES)]
    mr = tuple(_halved(mr_slice(head, z, 3.0), "MR") for z in heights)
    ct = tuple(_halved(ct_slice(head, z, 3.0, 512, 0.45), "CT") for z in heights)
    yield Clean(name="template_mr", subject="template_mr", modality="MR", slices=mr)
    yield Clean(name="template_ct", subject="template_ct", modality="CT", slices=ct)


def _slice(pixels: Array, volume: Volume) -> Array:
    top, bottom, left, right = volume.crop
    image = np.rot90(pixels)
    image = image[top : image.shape[0] - bottom, left : image.shape[1] - right].astype(np.float32)
    return _halved(image, volume.modality)


def _halved(image: Array, modality: str) -> Array:
    """Averaged two by two where it is large."""
    if min(image.shape) >= CANVAS:
        rows, columns = (side // 2 * 2 for side in image.shape)
        image = image[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))
    return np.maximum(image, -1024 if modality == "CT" else 0).astype(np.float32)


def write_series(folder: Path, of: Clean, slices: Sequence[Array], **told: object) -> None:
    """As a DICOM series; MR is scaled to 12 bits."""
    folder.mkdir(parents=True)
    part, kind = _TOLD.get(of.name, ("HEAD", "t1"))
    study, series = generate_uid(), generate_uid()
    ct = of.modality == "CT"
    top = max(float(np.percentile(one, 99.9)) for one in slices)
    for number, pixels in enumerate(slices):
        data = Dataset()
        data.SOPClassUID = CTImageStorage if ct else MRImageStorage
        data.SOPInstanceUID = generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, series
        data.PatientID, data.PatientName = of.subject, of.subject
        data.Modality, data.BodyPartExamined, data.SeriesDescription = of.modality, part, f"{part} {kind}"
        data.Manufacturer, data.StationName = "simulated", of.modality
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.InstanceNumber, data.SeriesNumber = number + 1, 1
        data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 5.0 * number]
        data.PixelSpacing, data.SliceThickness = [FIELD_MM / max(pixels.shape)] * 2, 5
        data.Rows, data.Columns = pixels.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, int(ct)
        if ct:
            data.RescaleSlope, data.RescaleIntercept = 1, 0
        for name, value in told.items():
            setattr(data, name, value)
        scaled = pixels if ct else pixels * (3000 / top)
        data.PixelData = np.clip(np.rint(scaled), -1024, 4095).astype(np.int16).tobytes()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)


def write_archive(folder: Path, volumes: Sequence[Clean]) -> None:
    """Each volume at four doses or field strengths; what the header tells is what was simulated."""
    for seed, of in enumerate(volumes):
        for dose, tesla in zip(DOSES, TESLA, strict=True):
            place = folder / f"{of.name}-{dose if of.modality == 'CT' else tesla:g}"
            if of.modality == "CT":
                slices = [*_at_dose(of.slices, dose, seed)]
                write_series(place, of, slices, Exposure=round(MAS * dose))
            else:
                slices = [_at_field(one, tesla, np.random.default_rng([seed, n]))
                          for n, one in enumerate(of.slices)]  # fmt: skip
                write_series(place, of, slices, MagneticFieldStrength=tesla)


def _at_dose(slices: Sequence[Array], dose: float, seed: int) -> Iterator[Array]:
    for one in slices:
        side = max(one.shape) + max(one.shape) % 2
        rows, columns = one.shape
        square = np.full((side, side), -1000, np.float32)
        square[:rows, :columns] = one
        (found,) = ct_scan([square], spacing_mm=FIELD_MM / side, dose=0.02 * dose, seed=seed)
        yield np.maximum(found[:rows, :columns], -1024)


def _at_field(image: Array, tesla: float, rng: np.random.Generator) -> Array:
    """Rician noise that falls with the field strength."""
    deviation = MR_NOISE * float(np.percentile(image, 99)) * 1.5 / tesla
    noise = rng.normal(0, deviation, (2, *image.shape))
    return np.hypot(image + noise[0], noise[1]).astype(np.float32)


@click.command()
@click.argument("volumes", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("series", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
def main(volumes: Path, series: Path, out: Path) -> None:
    """Write the data sets of docs/ablations.md."""
    found = [*references(volumes), *of_series(series), *template()]
    for of in found:
        write_series(out / "clean" / of.modality.lower() / of.name, of, of.slices)
    write_archive(out / "archive", found)
    for name, artefacts, severities in (
        ("mr", MR_ARTEFACTS, SEVERITIES),
        ("ct", CT_ARTEFACTS, SEVERITIES),
        ("both", BOTH_ARTEFACTS, (2.0, 5.0)),
    ):
        where = out / "clean" / ("" if name == "both" else name)
        clean, problems = group([where])
        assert not problems, problems
        made = write_simulated(clean, out / name, artefacts=artefacts, severities=severities)
        click.echo(f"{out / name}: {len(made)} series of {len(clean)} volumes")


if __name__ == "__main__":
    main()
