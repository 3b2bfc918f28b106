"""One module per family of operators: attributes, shape rule, float64 reference, error bound."""

from codegen.graph.ops.activation import Activation, PRelu
from codegen.graph.ops.conv import Conv, ConvInBlocks, ConvTranspose
from codegen.graph.ops.convert import Convert
from codegen.graph.ops.dense import Dense
from codegen.graph.ops.elementwise import Binary
from codegen.graph.ops.fused import Fused, Stage
from codegen.graph.ops.matmul import MatMul
from codegen.graph.ops.normalization import Affine, BatchNorm, Divide
from codegen.graph.ops.op import Op, Shape, ShapeError, frozen
from codegen.graph.ops.order import Top
from codegen.graph.ops.pool import GlobalPool, Pool
from codegen.graph.ops.reduce import Reduce
from codegen.graph.ops.resize import Resize
from codegen.graph.ops.running import RunningSum
from codegen.graph.ops.sample import GridSample
from codegen.graph.ops.shape import Concat, Identity, Pad, Reshape, Select, Take, TakeChannels, Transpose
from codegen.graph.ops.softmax import Softmax
from codegen.graph.ops.weighted import Weighted

__all__ = [
    "Activation",
    "Affine",
    "BatchNorm",
    "Binary",
    "Concat",
    "Conv",
    "ConvInBlocks",
    "ConvTranspose",
    "Convert",
    "Dense",
    "Divide",
    "Fused",
    "GlobalPool",
    "GridSample",
    "Identity",
    "MatMul",
    "Op",
    "PRelu",
    "Pad",
    "Pool",
    "Reduce",
    "Reshape",
    "Resize",
    "RunningSum",
    "Select",
    "Shape",
    "ShapeError",
    "Softmax",
    "Stage",
    "Take",
    "TakeChannels",
    "Top",
    "Transpose",
    "Weighted",
    "frozen",
]
