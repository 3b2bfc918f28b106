"""The operators of a spec: keys and a small builder for each.  Reader, JSON schema and docs are based on this table."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from codegen.frontend.operators import batch_norm
from codegen.frontend.operators.activation import ACTIVATION_OPERATORS, AXIS
from codegen.frontend.operators.layer import DILATION, PADDING, Layer, Operator, Step, pads_of
from codegen.frontend.operators.linear import LINEAR_OPERATORS
from codegen.frontend.parameters.parameters import widened
from codegen.frontend.spec.value_types import (
    FLAG,
    LARGEST,
    TEXT,
    Key,
    Keys,
    choice,
    number,
    number_or_infinity,
    number_pairs,
    padding,
    per_axis,
    positive_numbers,
    whole,
    wholes,
)
from codegen.graph.ops import (
    Binary,
    Concat,
    GlobalPool,
    GridSample,
    MatMul,
    Pad,
    Pool,
    Reduce,
    Reshape,
    Resize,
    RunningSum,
    Select,
    Take,
    Top,
    Transpose,
)
from codegen.graph.ops.order import PARTS
from codegen.graph.ops.resize import COORDINATES, MODES, ROUNDINGS
from codegen.graph.ops.sample import BORDERS, SAMPLE_MODES
from codegen.graph.ops.shape import PAD_MODES


def _pool(kind: str) -> Operator:
    def build(layer: Layer) -> list[Step]:
        kernel = layer.per_axis("kernel")
        stride = kernel if layer.options["stride"] is None else layer.per_axis("stride")
        dilation = layer.per_axis("dilation")
        pads = pads_of(layer, kernel, stride, dilation)
        counted = layer.options.get("count_include_pad")
        if kind == "average" and counted is None and layer.options["padding"] != "same" and any(map(any, pads)):
            raise layer.place.key("count_include_pad").spec_error(
                "is missing; with padding write whether it counts in the average: frameworks differ "
                "(PyTorch true, ONNX and Keras false)"
            )
        p = layer.options.get("p", 2.0)
        op = Pool(kind, kernel, stride, dilation, pads, layer.options["ceil_mode"], bool(counted), p)
        return [Step(f"{kind}_pool", op)]

    what = "The p-norm" if kind == "lp" else kind.capitalize()
    return Operator(
        f"{what} of each window.",
        build,
        {
            "kernel": Key(per_axis(1), "Size of the window along each spatial axis.", required=True),
            "stride": Key(per_axis(1), "Step from one window to the next. Default: the kernel."),
            "dilation": DILATION,
            "padding": PADDING,
            "ceil_mode": Key(FLAG, "true: a last, partial window counts too.", False),
            **({"count_include_pad": _COUNTED} if kind == "average" else {}),
            **({"p": _NORM} if kind == "lp" else {}),
        },
    )


_NORM = Key(number("a number >= 1", 1.0), "The p of the norm (sum of |x|^p)^(1/p).", 2.0)
_COUNTED = Key(FLAG, 'true: padding counts as zeros in the average. Required with padding other than "same".')


def _global_pool(kind: str) -> Operator:
    def build(layer: Layer) -> list[Step]:
        return [Step(f"global_{kind}_pool", GlobalPool(kind))]

    return Operator(f"{kind.capitalize()} over all spatial axes, which stay with size 1.", build, {})


def _binary(kind: str, doc: str, most: int | None) -> Operator:
    def build(layer: Layer) -> list[Step]:
        return [Step(kind, Binary(kind), (other,)) for other in layer.inputs[1:]]

    return Operator(doc, build, {}, 2, most)


def _concat(layer: Layer) -> list[Step]:
    return [Step("concat", Concat(layer.axis("axis")), layer.inputs[1:])]


def _flatten(layer: Layer) -> list[Step]:
    first, order = layer.axis("axis", 1), layer.options["order"]
    if order is None and first == 1:
        layer.check_order("order")
    spatial = len(layer.shape) > 2
    if order == "NHWC" and first != 1:
        raise layer.place.key("order").spec_error('"NHWC" takes axis = 1 only')
    flat = Step("flatten", Reshape((*layer.shape[:first], math.prod(layer.shape[first:]))))
    back = Step("transpose", Transpose((0, *range(2, len(layer.shape)), 1)))
    return [back, flat] if order == "NHWC" and spatial else [flat]


def _reshape(layer: Layer) -> list[Step]:
    with_batch = layer.options["full_shape"] is not None
    key, given = ("full_shape", layer.shape) if with_batch else ("shape", layer.shape[1:])
    shape, place = layer.options[key], layer.place.key(key)
    if (layer.options["shape"] is None) != with_batch:
        raise layer.place.spec_error("should have one of shape and full_shape")
    elements, known = math.prod(given), math.prod(n for n in shape if n > 0)
    if 0 in shape or shape.count(-1) > 1:
        raise place.spec_error(f"{list(shape)} should have sizes >= 1, and -1 at most once, for the remaining elements")
    if elements % known or (-1 not in shape and elements != known):
        without = "" if with_batch else " (without the batch)"
        raise place.spec_error(f"{list(shape)} does not hold the {elements} elements of {list(given)}{without}")
    sizes = tuple(elements // known if n == -1 else n for n in shape)
    return [Step("reshape", Reshape(sizes if with_batch else (layer.shape[0], *sizes)))]


def _transpose(layer: Layer) -> list[Step]:
    rank = len(layer.shape)
    axes = tuple(axis % rank if -rank <= axis < rank else axis for axis in layer.options["axes"])
    return [Step("transpose", Transpose(axes))]


def _pad(layer: Layer) -> list[Step]:
    return [Step("pad", Pad(((0, 0), (0, 0), *layer.pads()), layer.options["value"], layer.options["mode"]))]


def _reduce(kind: str, doc: str) -> Operator:
    def build(layer: Layer) -> list[Step]:
        rank = len(layer.shape)
        axes = tuple(sorted(_axis(layer, "axes", a, rank) for a in layer.options["axes"]))
        steps = [Step(f"reduce_{kind}", Reduce(kind, axes))]
        if not layer.options["keepdims"]:
            kept = tuple(n for a, n in enumerate(layer.shape) if a not in axes)
            steps.append(Step("reshape", Reshape(kept or (1,))))
        return steps

    axes = wholes("a list of axes, batch included, such as [2, 3]", -6, 6)
    return Operator(
        doc,
        build,
        {
            "axes": Key(axes, "The axes to reduce, counted in NCHW order, 0 being the batch.", required=True),
            "keepdims": Key(FLAG, "true: the reduced axes stay, with size 1; false: they are removed.", True),
        },
    )


def _axis(layer: Layer, key: str, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise layer.place.key(key).spec_error(f"{axis} should be one of the {rank} axes of {list(layer.shape)}")
    return axis % rank


def _slice(layer: Layer) -> list[Step]:
    """A slice along one axis, as in Python."""
    axis = layer.axis("axis")
    size, step = layer.shape[axis], layer.options["step"]
    if step == 0:
        raise layer.place.key("step").spec_error("0 should be another whole number")
    chosen = range(size)[slice(layer.options["start"], layer.options["stop"], step)]
    if not chosen:
        raise layer.place.spec_error(f"start, stop and step choose nothing of the {size} elements of axis {axis}")
    starts, steps, counts = ([k] * len(layer.shape) for k in (0, 1, 0))
    counts = list(layer.shape)
    starts[axis], steps[axis], counts[axis] = chosen.start, step, len(chosen)
    return [Step("slice", Select(tuple(starts), tuple(steps), tuple(counts)))]


def _arg(largest: bool, doc: str) -> Operator:
    def build(layer: Layer) -> list[Step]:
        axis = layer.axis("axis")
        steps = [Step("argmax" if largest else "argmin", Top(axis, 1, largest, layer.options["last"]))]
        if not layer.options["keepdims"]:
            steps.append(Step("reshape", Reshape((*layer.shape[:axis], *layer.shape[axis + 1 :]) or (1,))))
        return steps

    return Operator(
        doc,
        build,
        {
            "axis": Key(AXIS, "The axis, counted in NCHW order: 0 is the batch.", 1),
            "keepdims": Key(FLAG, "true: the axis stays, with size 1; false: it is removed.", True),
            "last": Key(FLAG, "true: of equal elements the last one counts; false: the first one.", False),
        },
    )


def _running_sum(layer: Layer) -> list[Step]:
    op = RunningSum(layer.axis("axis"), layer.options["exclusive"], layer.options["reverse"])
    return [Step("running_sum", op)]


def _top_k(layer: Layer) -> list[Step]:
    count, largest, part = (layer.options[key] for key in ("count", "largest", "part"))
    # NaN counts as the largest, as in sorting by PyTorch and numpy.
    return [Step("top_k", Top(layer.axis("axis"), count, largest, part=part, nan_last=not largest))]


def _take(layer: Layer) -> list[Step]:
    axis, tensor = layer.axis("axis"), layer.tensor("indices", "indices", fits=lambda shape: len(shape) == 1)
    values, size = tensor.values, layer.shape[axis]
    if values.ndim != 1 or values.size == 0:
        raise tensor.error("should be a list of whole numbers")
    if ((values < 0) | (values >= size) | (values != np.floor(values)) | (values > _LARGEST_INDEX)).any():
        raise tensor.error(f"should hold whole numbers from 0 to {min(size - 1, _LARGEST_INDEX)}")
    return [Step("take", Take(axis, widened(values)))]


_LARGEST_INDEX = 2**24  # float32 has all whole numbers up to this one


def _repeat(layer: Layer) -> list[Step]:
    times = layer.options["times"]
    if len(times) != len(layer.shape):
        raise layer.place.key("times").spec_error(
            f"{list(times)} should have a number for each axis of {list(layer.shape)}, batch included"
        )
    zeros = (0,) * len(times)
    counts = tuple(n * t for n, t in zip(layer.shape, times, strict=True))
    return [Step("repeat", Select(zeros, (1,) * len(times), counts))]


def _matmul(layer: Layer) -> list[Step]:
    return [Step("matmul", MatMul(), layer.inputs[1:])]


# In the order of the operator's attributes.
_RESAMPLING: Keys = {
    "rounding": Key(choice(*ROUNDINGS), "Rounding of a position between two elements, for mode nearest.", "floor"),
    "cubic": Key(number(), "The coefficient a of bicubic: -0.75 in PyTorch and ONNX.", -0.75),
    "exclude_outside": Key(
        FLAG, "true: bicubic and antialias leave out elements beyond the edge; false: they repeat the edge.", False
    ),
    "scales": Key(
        positive_numbers("a list of factors above 0, one for each spatial axis", 3),
        "Factors from which positions are computed. Default: output size / input size.",
    ),
    "antialias": Key(
        FLAG, "true: bilinear and bicubic widen their filter if the output is smaller than the input.", False
    ),
    "roi": Key(
        number_pairs("a list of [start, end] pairs, one for each spatial axis", 3),
        "The part of the input that coordinates tf_crop_and_resize takes: [start, end] from 0 to 1 for each axis.",
    ),
    "outside": Key(number(), "The value of elements of roi that lie beyond the input.", 0.0),
}


def _upsample(layer: Layer) -> list[Step]:
    scale, size, mode = (layer.options[key] for key in ("scale", "size", "mode"))
    if (scale is None) == (size is None):
        raise layer.place.spec_error("should have one of scale and size")
    if size is None:
        size = tuple(n * s for n, s in zip(layer.space, layer.per_axis("scale"), strict=True))
    coordinates = layer.options["coordinates"] or ("asymmetric" if mode == "nearest" else "half_pixel")
    more = (layer.options[key] for key in _RESAMPLING)
    return [Step("upsample", Resize(size, mode, coordinates, *more))]


def _grid_sample(layer: Layer) -> list[Step]:
    mode, border, corners = (layer.options[key] for key in ("mode", "border", "align_corners"))
    grid = None
    if len(layer.inputs) == 1:
        tensor = layer.tensor("grid", "grid", fits=lambda shape: len(shape) == len(layer.shape))
        if 0 in tensor.shape:
            raise tensor.error("has a size of 0")
        grid = widened(tensor.values)
    elif layer.options["grid"] is not None:
        raise layer.place.key("grid").spec_error("names a tensor, but there is a second input; drop one")
    return [Step("grid_sample", GridSample(mode, border, corners, grid), layer.inputs[1:])]


OPERATORS: Mapping[str, Operator] = {
    **LINEAR_OPERATORS,
    "batch_norm": Operator("BatchNorm with the statistics of the file.", batch_norm.batch_norm, batch_norm.KEYS),
    "max_pool": _pool("max"),
    "average_pool": _pool("average"),
    "lp_pool": _pool("lp"),
    "global_max_pool": _global_pool("max"),
    "global_average_pool": _global_pool("average"),
    "add": _binary("add", "Sum of two or more tensors; axes of size 1 broadcast.", None),
    "sub": _binary("sub", "Difference of two tensors; axes of size 1 broadcast.", 2),
    "mul": _binary("mul", "Product of two or more tensors; axes of size 1 broadcast.", None),
    "div": _binary("div", "Quotient of two tensors; axes of size 1 broadcast.", 2),
    "min": _binary("min", "Minimum of two or more tensors, element by element; axes of size 1 broadcast.", None),
    "max": _binary("max", "Maximum of two or more tensors, element by element; axes of size 1 broadcast.", None),
    "pow": _binary("pow", "The first tensor to the power of the second; axes of size 1 broadcast.", 2),
    "fmod": _binary("fmod", "Remainder of the first tensor divided by the second, with the sign of the first.", 2),
    "mask": _binary("mask", "The first tensor where the second is not 0, and 0 elsewhere.", 2),
    "equal": _binary("equal", "1 where two tensors are equal, else 0.", 2),
    "greater": _binary("greater", "1 where the first tensor is greater than the second, else 0.", 2),
    "greater_equal": _binary("greater_equal", "1 where the first tensor is not less than the second, else 0.", 2),
    "less": _binary("less", "1 where the first tensor is less than the second, else 0.", 2),
    "less_equal": _binary("less_equal", "1 where the first tensor is not greater than the second, else 0.", 2),
    "concat": Operator(
        "Concatenation of the inputs along one axis.",
        _concat,
        {"axis": Key(AXIS, "The axis, counted in NCHW order: 0 is the batch.", 1)},
        1,
        None,
    ),
    "flatten": Operator(
        "Joins all axes from `axis` on into one.",
        _flatten,
        {
            "axis": Key(AXIS, "The first of the axes to join, counted in NCHW order.", 1),
            "order": Key(
                choice("NCHW", "NHWC"),
                "Order in which the elements are joined: NHWC is that of Keras and TensorFlow. Required if the order "
                "matters and the spec has NHWC inputs or HWIO weights. Default: NCHW.",
            ),
        },
    ),
    "reshape": Operator(
        "The same elements, in NCHW order, in another shape.",
        _reshape,
        {
            "shape": Key(
                wholes("a list of sizes without the batch, -1 at most once, for the remaining elements", -1, 5),
                "The new sizes without the batch; one of them may be -1, for the remaining elements. Either this or "
                "full_shape.",
            ),
            "full_shape": Key(
                wholes("a list of sizes, the batch first, -1 at most once, for the remaining elements", -1, 6),
                "The new sizes with the batch, which may change.",
            ),
        },
    ),
    "transpose": Operator(
        "Permutes the axes.",
        _transpose,
        {
            "axes": Key(
                wholes("a list of axes, batch included, such as [0, 2, 3, 1]", -6, 6),
                "Output axis i is input axis axes[i], counted in NCHW order, 0 being the batch.",
                required=True,
            )
        },
    ),
    "pad": Operator(
        "Adds elements around the spatial axes.",
        _pad,
        {
            "padding": Key(padding(), "The number of elements to add, in the form of conv's padding.", required=True),
            "value": Key(number_or_infinity(), "The value of added elements, for mode constant.", 0.0),
            "mode": Key(
                choice(*PAD_MODES),
                "Added elements: a constant, the edge repeated, a mirror image without the edge, or the other end.",
                "constant",
            ),
        },
    ),
    "slice": Operator(
        "A slice along one axis, as in Python.",
        _slice,
        {
            "axis": Key(AXIS, "The axis, counted in NCHW order: 0 is the batch.", required=True),
            "start": Key(whole(-LARGEST), "Index of the first element; a negative one counts from the end."),
            "stop": Key(whole(-LARGEST), "Index after the last element; a negative one counts from the end."),
            "step": Key(whole(-LARGEST), "Distance from one element to the next; a negative one goes backwards.", 1),
        },
    ),
    "repeat": Operator(
        "Repeats the whole tensor along each axis.",
        _repeat,
        {
            "times": Key(
                wholes("a list of numbers, batch included", 1, 6),
                "The number of repetitions along each axis, batch included.",
                required=True,
            )
        },
    ),
    "matmul": Operator(
        "Product of the last two axes of two tensors as matrices; the axes before them broadcast.", _matmul, {}, 2, 2
    ),
    "reduce_sum": _reduce("sum", "Sum along axes."),
    "reduce_mean": _reduce("mean", "Mean along axes."),
    "reduce_max": _reduce("max", "Maximum along axes."),
    "reduce_min": _reduce("min", "Minimum along axes."),
    "reduce_prod": _reduce("prod", "Product along axes."),
    "running_sum": Operator(
        "Running (cumulative) sum along an axis.",
        _running_sum,
        {
            "axis": Key(AXIS, "The axis, counted in NCHW order: 0 is the batch.", required=True),
            "exclusive": Key(FLAG, "true: each sum leaves out the element at its own position.", False),
            "reverse": Key(FLAG, "true: sums begin at the last element.", False),
        },
    ),
    "argmax": _arg(True, "Index of the largest element along an axis, as a float."),
    "argmin": _arg(False, "Index of the smallest element along an axis, as a float."),
    "top_k": Operator(
        "The largest or smallest elements along an axis, sorted; equal elements keep their order.",
        _top_k,
        {
            "axis": Key(AXIS, "The axis, counted in NCHW order: 0 is the batch.", required=True),
            "count": Key(whole(1), "The number of elements to keep.", required=True),
            "largest": Key(
                FLAG, "true: the largest elements, in falling order; false: the smallest, in rising order.", True
            ),
            "part": Key(choice(*PARTS), "The elements themselves, or their indices along the axis.", "values"),
        },
    ),
    "take": Operator(
        "The elements at a list of indices along one axis.",
        _take,
        {
            "axis": Key(AXIS, "The axis, counted in NCHW order: 0 is the batch.", required=True),
            "indices": Key(TEXT, "Name of the tensor, a list of whole numbers from 0. Default: <layer>.indices."),
        },
    ),
    "upsample": Operator(
        "Resizes the spatial axes.",
        _upsample,
        {
            "scale": Key(per_axis(1), "Factor of each spatial axis; either this or size."),
            "size": Key(
                wholes("a list of sizes, one for each spatial axis", 1, 3),
                "Sizes of the output's spatial axes; either this or scale.",
            ),
            "mode": Key(choice(*MODES), "Interpolation between elements.", "nearest"),
            "coordinates": Key(
                choice(*COORDINATES),
                "Positions of output elements in the input. Default: asymmetric for nearest, else half_pixel.",
            ),
            **_RESAMPLING,
        },
    ),
    "grid_sample": Operator(
        "Samples the first tensor at the positions of a grid: [N, sizes, axes], (x, y) or (x, y, z) from -1 to 1.",
        _grid_sample,
        {
            "grid": Key(TEXT, "Name of a constant grid, if there is no second input. Default: <layer>.grid."),
            "mode": Key(choice(*SAMPLE_MODES), "Interpolation between elements.", "bilinear"),
            "border": Key(choice(*BORDERS), "Values beyond the edge of the input.", "zeros"),
            "align_corners": Key(
                FLAG, "true: -1 and 1 are the centres of the outer elements; false: their outer edges.", False
            ),
        },
        1,
        2,
    ),
    **ACTIVATION_OPERATORS,
}
