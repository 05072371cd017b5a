"""Makes the volumes beside it and what nibabel sees in them. Run: python make.py (nibabel 5.4.2, numpy).

expected.tsv: file, orientation, shape, 12 numbers of the affine, sum of values times place (i*5+j*3+k+1), last value.
"""

import gzip
import pathlib

import nibabel
import numpy

here = pathlib.Path(__file__).parent
lines = []


def add(name, data, affine, sform, qform, slope=None, big=False, units="mm"):
    header = nibabel.Nifti1Header(endianness=">" if big else "<")
    header.set_data_dtype(data.dtype)
    header.set_xyzt_units(units)
    image = nibabel.Nifti1Image(data, None if affine is None else affine, header)
    if affine is None:
        image.header.set_zooms((1.5, 2.0, 2.5))
        image.header["sform_code"] = image.header["qform_code"] = 0
    else:
        image.set_sform(affine, sform)
        image.set_qform(affine, qform)
    if slope:
        image.header.set_slope_inter(*slope)
    bytes_ = bytearray(image.to_bytes())
    if slope:  # nibabel takes the scaling out on writing: put it in
        bytes_[112:120] = numpy.array(slope, ">f4" if big else "<f4").tobytes()
    path = here / name
    path.write_bytes(gzip.compress(bytes(bytes_), mtime=0) if name.endswith("gz") else bytes(bytes_))
    seen = nibabel.load(path)
    values = seen.get_fdata()
    i, j, k = numpy.indices(values.shape)
    total = float((values * (i * 5 + j * 3 + k + 1)).sum())
    place = seen.affine if affine is not None else numpy.diag([1.5, 2.0, 2.5, 1.0])
    fields = [name, "".join(nibabel.aff2axcodes(place)), "x".join(map(str, values.shape))]
    fields += [repr(float(number)) for number in place[:3].ravel()] + [repr(total), repr(float(values[-1, -1, -1]))]
    lines.append("\t".join(fields))


counted = numpy.arange(24).reshape(2, 3, 4)
turned = numpy.array([[-1.0, 0.02, 0.3, 40], [0.05, 0.1, 2.9, -7], [0.04, -1.99, 0.3, 12], [0, 0, 0, 1]])
straight = numpy.array([[-2.0, 0, 0, 9], [0, 0, 3.0, 8], [0, -1.5, 0, 7], [0, 0, 0, 1]])
add("i16-sform.nii.gz", counted.astype("<i2") - 7, turned, 1, 0)
add("u8-qform.nii.gz", counted.astype("u1"), straight, 0, 1)
add("f32-big.nii", (counted / 8).astype(">f4"), turned, 2, 0, big=True)
add("u16-scaled.nii.gz", counted.astype("<u2"), straight, 1, 1, slope=(0.25, -3.0))
add("f64-bare.nii.gz", counted.astype("<f8") / 3, None, 0, 0)
add("i32-four.nii.gz", counted.astype("<i4"), straight, 1, 1)
(here / "expected.tsv").write_text("\n".join(lines) + "\n")
