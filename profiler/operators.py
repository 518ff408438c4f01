"""What kind of work an operator does, whatever its compiler calls it.

The names of all formats meet here, so that two compilers' views of one network can stand side by
side. A name that is not known is "other"; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping

CATEGORIES = (
    "convolution",
    "matrix product",
    "attention",
    "normalisation",
    "activation",
    "softmax",
    "pooling",
    "reduction",
    "resampling",
    "element-wise",
    "reshape and layout",
    "selection and joining",
    "conversion",
    "delegate",
    "other",
)

# Names in lower case without separators; those of all formats that opclock writes.
NAMES: dict[str, str] = {
    "convolution": """
        conv conv1d conv2d conv3d convolution groupconvolution depthwiseconv2d
        transposeconv convtranspose convtranspose2d convolutionbackpropdata
        groupconvolutionbackpropdata fusedconv xnnconv2d xnndepthwiseconv2d
        xnnconvtranspose2d convinteger qlinearconv deconvolution nhwcconv
    """,
    "matrix product": """
        matmul gemm linear addmm mm bmm baddbmm fullyconnected batchmatmul einsum
        fusedmatmul xnnfullyconnected xnnbatchmatrixmultiply qlinearmatmul matmulinteger
        matrixmultiply matmuladd batchmatrixmultiply
    """,
    "attention": """
        scaleddotproductattention scaleddotproductflashattentionforcpu attention
        multiheadattention scaleddotproduct
    """,
    "normalisation": """
        batchnormalization batchnorm layernormalization layernorm groupnormalization
        groupnorm instancenormalization instancenorm mvn nativelayernorm nativebatchnorm
        nativegroupnorm skiplayernormalization simplifiedlayernormalization
        l2normalization l2norm lrn nativebatchnormlegit nativebatchnormlegitnotraining
        normalization normalizel2 rmsnorm rms
    """,
    "activation": """
        relu relu6 gelu fastgelu biasgelu quickgelu silu swish hardswish hswish
        hardsigmoid hsigmoid sigmoid sigmoidhard tanh elu leakyrelu prelu thresholdedrelu
        clip clamp hardtanh softplus erf mish xnnclamp xnnhardswish xnnsigmoid xnngelu
        xnntanh xnnelu xnnleakyrelu xnnprelu softsign logistic clampedrelu
    """,
    "softmax": """
        softmax xnnsoftmax logsoftmax
    """,
    "pooling": """
        averagepool avgpool avgpool1d avgpool2d averagepool2d maxpool maxpool2d
        globalaveragepool globalmaxpool adaptiveavgpool2d adaptivemaxpool2d
        xnnavgpooling2d xnnmaxpooling2d xnnglobalavgpooling2d pooling averagepooling
        maxpooling globalaveragepooling
    """,
    "reduction": """
        reducemean mean reducesum sum reducemax amax reducemin max min reducel2 var
        varmean xnnmean argmax reducesumsquare reducel2norm cumsum
    """,
    "resampling": """
        resize interpolate upsample upsamplebilinear upsamplebilinear2d upsamplenearest2d
        upsamplenearestneighbor resizebilinear resizenearestneighbor upsamplebicubic2d
        gridsample xnnstaticresizebilinear2d
    """,
    "element-wise": """
        add sub subtract mul multiply div divide realdiv pow power sqrt rsqrt square neg
        negative negate abs exp log reciprocal maximum minimum where select equal greater
        less floor round sin cos xnnadd xnnsubtract xnnmultiply xnndiv xnnminimum
        xnnmaximum xnnsquareroot xnnreciprocalsquareroot xnnnegate xnnabs xnnfloor
        xnnceiling xnnexp xnnlog squareddifference greaterequal lessequal logicaland
        logicalnot ge gt le lt eq ne dropout inverse fusedelementwise eltwise elementwise
        subgraph math squareroot reciprocalsquareroot absolute any logicalor
    """,
    "reshape and layout": """
        reshape reshapeas view unsafeview transpose permute flatten squeeze unsqueeze expanddims
        expand contiguous clone viewcopy permutecopy unsqueezecopy squeezecopy expandcopy
        depthtospace spacetodepth reorderinput reorderoutput reorder t numpyt
        xnnstatictranspose xnnstaticreshape transposecopy aliascopy alias identity
        pixelshuffle pixelunshuffle space2depth broadcastto broadcast tile repeat shuffle
        channelshuffle movedim swapaxes unfold fold im2col col2im
        staticreshape copy
    """,
    "selection and joining": """
        concat cat concatenation slice slicecopy stridedslice split splitv splitwithsizes
        splitwithsizescopy unbind unpack pack stack chunk gather gathernd index
        indexselect selectcopy slicebyindex slicebysize shape shapeof pad padv2
        constantpadnd roll rolls narrow unbindcopy xnnconcatenate2 xnnconcatenate3
        xnnconcatenate4 xnnconcatenate5 xnnstaticslice xnnstaticconstantpad variadicsplit
        mirrorpad range fill full constantofshape scatternd flip embedding zeroslike
        oneslike scalartensor full_like fulllike arange
    """,
    "conversion": """
        cast convert quantize dequantize quantizelinear dequantizelinear fakequantize
        dynamicquantizelinear xnnconvert tocopy to todtypelayout quantizepertensor
        dequantizepertensor quantizeperchannel dequantizeperchannel typeas
    """,
}
CATEGORY_OF = {word: category for category, words in NAMES.items() for word in words.split()}


def category(name: str) -> str:
    """The category of an operator by its format's name: `aten.conv2d`, `FULLY_CONNECTED`."""
    if name.startswith("delegate"):
        return "delegate"
    if name in CATEGORY_OF:
        return CATEGORY_OF[name]
    last = name.lower().removeprefix("aten.").removeprefix("com.microsoft.").rpartition("::")[2]
    last = last.rpartition(":")[2].partition(".")[0]
    return CATEGORY_OF.get("".join(c for c in last if c.isalnum()), "other")


def by_category(operators: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Operators by category, in the categories' order; empty categories are left out."""
    found: dict[str, dict[str, int]] = {name: {} for name in CATEGORIES}
    for name, count in sorted(operators.items(), key=lambda item: (-item[1], item[0])):
        found[category(name)][name] = count
    return {name: members for name, members in found.items() if members}
