"""What papers print about the networks that the EfficientFormer papers compare.

Parameters and multiply-adds are as printed, with the source in words. A figure of None is one
that no source at hand prints, or on which the sources disagree; `note` says which, and names
differences between the printed figure and the network itself.
"""

from __future__ import annotations

from dataclasses import dataclass

SCALES = {"M": 1e6, "G": 1e9}


@dataclass(frozen=True, slots=True)
class Figure:
    """A number as printed: "12.3 M" is 12.3 million, give or take half a unit of its last digit."""

    printed: str

    @property
    def value(self) -> float:
        """The number itself, without a scale: 12.3e6."""
        number, scale = self.printed.split()
        return float(number) * SCALES[scale]

    @property
    def half_unit(self) -> float:
        """Half a unit of the last printed digit: 0.05e6."""
        number, scale = self.printed.split()
        return 0.5 * SCALES[scale] * 10.0 ** -len(number.partition(".")[2])


@dataclass(frozen=True, slots=True)
class Published:
    """A network, by opclock's name and by its own, and what is printed about it.

    `macs` are multiply-adds of one image of `resolution` x `resolution` pixels, which papers
    often call FLOPs.
    """

    name: str
    network: str
    parameters: Figure | None
    macs: Figure | None
    resolution: int
    source: str
    note: str = ""


def _figure(printed: str) -> Figure | None:
    return Figure(printed) if printed else None


def _table(
    source: str, resolution: int, *rows: tuple[str, str, str, str], note: str = ""
) -> tuple[Published, ...]:
    """Rows of one source: name, network, parameters, multiply-adds; "" where none is printed."""
    return tuple(
        Published(name, network, _figure(parameters), _figure(macs), resolution, source, note)
        for name, network, parameters, macs in rows
    )


LEVIT = "README of facebookresearch/LeViT (arXiv 2104.01136)"
EFFICIENTNET = "EfficientNet (arXiv 1905.11946), Table 2"
MOBILEVIT_V2 = "MobileViTv2 (arXiv 2206.02680)"
CROSSVIT = "CrossViT (arXiv 2103.14899), Table 2"
DEIT = "README of facebookresearch/deit (arXiv 2012.12877)"
MOBILEONE = "MobileOne (arXiv 2206.04040), as quoted in"
EDGEVIT = "EdgeViTs (arXiv 2205.03436), as quoted in"
CONVMIXER = (
    "ConvMixer (arXiv 2201.09792), as quoted in the README of Rishit-dagli/ConvMixer-torch2tf"
)
FASTVIT = "FastViT (arXiv 2303.14189), as quoted in the README of balala8/FastViT_pytorch"

NETWORKS: tuple[Published, ...] = (
    *_table(
        "EfficientFormer (arXiv 2206.01191), as quoted in RepViT (arXiv 2307.09283), Table 1",
        224,
        ("efficientformer_l1", "EfficientFormer-L1", "12.3 M", "1.3 G"),
        ("efficientformer_l3", "EfficientFormer-L3", "31.3 M", "3.9 G"),
        ("efficientformer_l7", "EfficientFormer-L7", "82.1 M", "10.2 G"),
        note="the printed counts leave some parameters out: they are 12.29, 31.41 and 82.23 M",
    ),
    *_table(
        "README of snap-research/EfficientFormer (arXiv 2212.08059)",
        224,
        ("efficientformerv2_s0", "EfficientFormerV2-S0", "3.5 M", "0.40 G"),
        ("efficientformerv2_s1", "EfficientFormerV2-S1", "6.1 M", "0.65 G"),
        ("efficientformerv2_s2", "EfficientFormerV2-S2", "12.6 M", "1.25 G"),
        ("efficientformerv2_l", "EfficientFormerV2-L", "26.1 M", "2.56 G"),
        note="the printed counts leave some parameters out: they are 3.60, 6.19, 12.71 and 26.32 M",
    ),
    *_table(
        f"{MOBILEVIT_V2}, Table 2, by the authors of MobileViT (arXiv 2110.02178)",
        256,
        ("mobilevit_xxs", "MobileViT-XXS", "1.3 M", "0.4 G"),
        ("mobilevit_s", "MobileViT-S", "5.6 M", "2.0 G"),
    ),
    *_table(
        "model zoo of apple/ml-cvnets (arXiv 2110.02178)",
        256,
        ("mobilevit_xs", "MobileViT-XS", "2.3 M", ""),
        note="no multiply-adds: papers that quote them disagree, from 0.7 to 1.05 G",
    ),
    *_table(
        f"{MOBILEVIT_V2}, Table 6",
        256,
        ("mobilevitv2_050", "MobileViTv2-0.5", "1.4 M", "0.5 G"),
        ("mobilevitv2_075", "MobileViTv2-0.75", "2.9 M", "1.0 G"),
        ("mobilevitv2_100", "MobileViTv2-1.0", "4.9 M", "1.8 G"),
    ),
    *_table(
        f"{MOBILEVIT_V2}, Table 6",
        256,
        ("mobilevitv2_200", "MobileViTv2-2.0", "18.5 M", "7.2 G"),
        note="Table 2 of the same paper prints 7.5 G",
    ),
    *_table(
        "README of sail-sg/poolformer (arXiv 2111.11418)",
        224,
        ("poolformer_s12", "PoolFormer-S12", "12 M", "1.8 G"),
        ("poolformer_s24", "PoolFormer-S24", "21 M", "3.4 G"),
        ("poolformer_s36", "PoolFormer-S36", "31 M", "5.0 G"),
        note="recounted by the authors after the first version, which the EfficientFormer papers "
        "quote with 2.0, 3.6 and 5.2 G",
    ),
    *_table(
        f"{CROSSVIT}; {DEIT} rounds the parameters to 5 M and 22 M",
        224,
        ("deit_tiny_patch16_224", "DeiT-T", "5.7 M", "1.3 G"),
        ("deit_small_patch16_224", "DeiT-S", "22.1 M", "4.6 G"),
    ),
    *_table(
        DEIT,
        224,
        ("deit_tiny_distilled_patch16_224", "DeiT-T distilled", "6 M", ""),
        ("deit_small_distilled_patch16_224", "DeiT-S distilled", "22 M", ""),
        note="the source prints no multiply-adds",
    ),
    *_table(
        LEVIT,
        224,
        ("levit_128s", "LeViT-128S", "7.8 M", "305 M"),
        ("levit_128", "LeViT-128", "9.2 M", "406 M"),
        ("levit_192", "LeViT-192", "11 M", "658 M"),
        ("levit_256", "LeViT-256", "19 M", "1120 M"),
        ("levit_384", "LeViT-384", "39 M", "2353 M"),
    ),
    *_table(
        LEVIT,
        224,
        ("levit_conv_128s", "LeViT-128S", "7.8 M", "305 M"),
        ("levit_conv_128", "LeViT-128", "9.2 M", "406 M"),
        ("levit_conv_192", "LeViT-192", "11 M", "658 M"),
        ("levit_conv_256", "LeViT-256", "19 M", "1120 M"),
        ("levit_conv_384", "LeViT-384", "39 M", "2353 M"),
        note="the same network with 1x1 convolutions in place of linear layers",
    ),
    *_table(
        "README of tensorflow/models, research/slim/nets/mobilenet (arXiv 1801.04381)",
        224,
        ("mobilenetv2_100", "MobileNetV2", "3.47 M", "300 M"),
        ("mobilenetv2_140", "MobileNetV2 x1.4", "6.06 M", "582 M"),
        note="papers also quote 3.4 M, and for x1.4 6.9 M and 585 M multiply-adds",
    ),
    *_table(
        "MobileNetV3 (arXiv 1905.02244), Table 3",
        224,
        ("mobilenetv3_large_100", "MobileNetV3-Large", "5.4 M", "219 M"),
        ("mobilenetv3_small_100", "MobileNetV3-Small", "2.5 M", "56 M"),
        note="the README of the authors' code prints 217 M multiply-adds for Large, and 2.9 M and "
        "66 M for Small",
    ),
    *_table(
        EFFICIENTNET,
        224,
        ("efficientnet_b0", "EfficientNet-B0", "5.3 M", "0.39 G"),
    ),
    *_table(
        EFFICIENTNET,
        300,
        ("efficientnet_b3", "EfficientNet-B3", "12 M", "1.8 G"),
        note="timm runs this one at 288 x 288, and tf_efficientnet_b3 at the paper's 300 x 300",
    ),
    *_table(
        EFFICIENTNET,
        456,
        ("efficientnet_b5", "EfficientNet-B5", "30 M", "9.9 G"),
        note="timm runs this one at 448 x 448, and tf_efficientnet_b5 at the paper's 456 x 456; "
        "there it takes 10.27 G multiply-adds, which torchvision prints too",
    ),
    *_table(
        "torchvision's ResNet50_Weights.IMAGENET1K_V1",
        224,
        ("resnet50", "ResNet-50", "25.6 M", "4.09 G"),
    ),
    *_table(
        "README of facebookresearch/deit, ResMLP (arXiv 2105.03404)",
        224,
        ("resmlp_24_224", "ResMLP-S24", "30 M", "6 G"),
    ),
    *_table(
        CONVMIXER,
        224,
        ("convmixer_768_32", "ConvMixer-768/32", "21.1 M", ""),
        ("convmixer_1024_20_ks9_p14", "ConvMixer-1024/20", "24.4 M", ""),
        note="the source prints no multiply-adds",
    ),
    *_table(
        "README of microsoft/Swin-Transformer (arXiv 2103.14030)",
        224,
        ("swin_tiny_patch4_window7_224", "Swin-T", "28 M", "4.5 G"),
    ),
    *_table(
        CROSSVIT,
        240,
        ("crossvit_9_240", "CrossViT-9", "8.6 M", "1.8 G"),
        ("crossvit_15_240", "CrossViT-15", "27.4 M", "5.8 G"),
        ("crossvit_15_dagger_240", "CrossViT-15 dagger", "28.2 M", "6.1 G"),
        ("crossvit_18_240", "CrossViT-18", "43.3 M", "9.0 G"),
        note="the paper's images are 224 x 224, scaled up to 240 for one branch; timm's are "
        "240 x 240, scaled down to 224 for the other",
    ),
    *_table(
        f"{MOBILEONE} StarNet (arXiv 2403.19967), Table 6",
        224,
        ("mobileone_s0_deployed", "MobileOne-S0", "2.1 M", "275 M"),
        ("mobileone_s1_deployed", "MobileOne-S1", "4.8 M", "825 M"),
        ("mobileone_s2_deployed", "MobileOne-S2", "7.8 M", "1299 M"),
    ),
    *_table(
        f"{MOBILEONE} iFormer (arXiv 2501.15369)",
        224,
        ("mobileone_s3_deployed", "MobileOne-S3", "10.1 M", "1.90 G"),
    ),
    *_table(
        f"{MOBILEONE} SHViT (arXiv 2401.16456), Table 2",
        224,
        ("mobileone_s4_deployed", "MobileOne-S4", "14.8 M", "2978 M"),
    ),
    *_table(
        FASTVIT,
        256,
        ("fastvit_t8_deployed", "FastViT-T8", "3.6 M", "0.7 G"),
        ("fastvit_t12_deployed", "FastViT-T12", "6.8 M", "1.4 G"),
        ("fastvit_s12_deployed", "FastViT-S12", "8.8 M", "1.8 G"),
        ("fastvit_sa12_deployed", "FastViT-SA12", "10.9 M", "1.9 G"),
        ("fastvit_sa24_deployed", "FastViT-SA24", "20.6 M", "3.8 G"),
        ("fastvit_sa36_deployed", "FastViT-SA36", "30.4 M", "5.6 G"),
        ("fastvit_ma36_deployed", "FastViT-MA36", "42.7 M", "7.9 G"),
        note="timm's networks hold 0.4 to 1.3 M parameters more than the paper prints, which does "
        "not say what it counts; Apple's model cards print both (T8: 4.0 and 3.6 M)",
    ),
    *_table(
        "README of THU-MIG/RepViT (arXiv 2307.09283)",
        224,
        ("repvit_m0_9_deployed", "RepViT-M0.9", "5.1 M", "0.8 G"),
        ("repvit_m1_0_deployed", "RepViT-M1.0", "6.8 M", "1.1 G"),
        ("repvit_m1_1_deployed", "RepViT-M1.1", "8.2 M", "1.3 G"),
        ("repvit_m1_5_deployed", "RepViT-M1.5", "14.0 M", "2.3 G"),
        ("repvit_m2_3_deployed", "RepViT-M2.3", "22.9 M", "4.5 G"),
    ),
    *_table(
        "README of AAboys/MobileFormer (arXiv 2108.05895)",
        224,
        ("mobile_former_26m", "Mobile-Former-26M", "3.2 M", "26 M"),
        ("mobile_former_52m", "Mobile-Former-52M", "3.5 M", "52 M"),
        ("mobile_former_96m", "Mobile-Former-96M", "4.6 M", "96 M"),
        ("mobile_former_151m", "Mobile-Former-151M", "7.6 M", "151 M"),
        ("mobile_former_214m", "Mobile-Former-214M", "9.4 M", "214 M"),
        ("mobile_former_294m", "Mobile-Former-294M", "11.4 M", "294 M"),
        ("mobile_former_508m", "Mobile-Former-508M", "14.0 M", "508 M"),
        note="convolutions and matrix products alone take 23.6 to 498 M multiply-adds; one more "
        "for each output of a batch normalisation or dynamic ReLU gives what is printed within 1 M",
    ),
    *_table(
        f"{EDGEVIT} SHViT (arXiv 2401.16456), Table 2",
        224,
        ("edgevit_xxs", "EdgeViT-XXS", "4.1 M", "0.6 G"),
        ("edgevit_xs", "EdgeViT-XS", "6.7 M", "1.1 G"),
    ),
    *_table(
        f"{EDGEVIT} the README of DoTCoM",
        224,
        ("edgevit_s", "EdgeViT-S", "11.1 M", "1.9 G"),
        note="the authors' code builds 13.1 M parameters, which EfficientMod (arXiv 2403.19963) "
        "prints too",
    ),
    *_table(
        "README of Sense-X/UniNet (arXiv 2207.05420)",
        224,
        ("uninet_b1", "UniNet-B1", "11.5 M", "1.1 G"),
    ),
)
