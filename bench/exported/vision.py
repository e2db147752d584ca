"""timm: about one network of each family."""

from functools import partial

import timm
import torch

from bench.exported.subject import Made, Subject

CLASSES = 100

SIZES = {
    64: """mobilenetv3_small_050 resnet18 resnet50_gn resnetv2_50 resnet26t resnetblur18 resnetaa34d ecaresnet26t
        seresnext26ts gcresnet33ts skresnet18 resnest14d res2net50_14w_8s legacy_seresnext26_32x4d dla34 dpn48b
        densenetblur121d vgg11_bn regnetx_002 regnety_002 regnetz_005 nf_resnet26 eca_nfnet_l0 dm_nfnet_f0
        hrnet_w18_small ese_vovnet19b_slim_dw ese_vovnet39b ghostnet_050 ghostnetv2_100 ghostnetv3_050 mobileone_s0
        repvgg_a0 repghostnet_050 repvit_m0_9 rexnet_100 selecsls42 cspresnet50 cspdarknet53 cs3darknet_s
        darknetaa53 tresnet_m hardcorenas_a efficientnet_b0 efficientnetv2_rw_t tf_efficientnet_lite0
        efficientnet_es mixnet_s mnasnet_small fbnetc_100 spnasnet_100 lcnet_050 mobilenetv4_conv_small
        efficientnet_cc_b0_4e xception41 hgnetv2_b0 hgnet_tiny rdnet_tiny convnext_atto convnextv2_atto fasternet_t0
        starnet_s1 mambaout_femto inception_next_atto gernet_s visformer_tiny cspnext_tiny lcnetv2_small
        convmixer_768_32""",
    96: """inception_v4 inception_resnet_v2 nasnetalarge mobilenetv4_hybrid_medium""",
    128: """mobilevit_xxs mobilevitv2_050 edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientvit_b0
        efficientvit_m0 shvit_s1 levit_128s levit_conv_128s poolformer_s12 poolformerv2_s12 caformer_s18
        convformer_s18 fastvit_t8 swiftformer_xs pvt_v2_b0 twins_svt_small twins_pcpvt_small davit_tiny
        focalnet_tiny_srf tiny_vit_5m_224 nextvit_small deit_tiny_patch16_224 deit_tiny_distilled_patch16_224
        deit3_small_patch16_224 cait_xxs24_224 beit_base_patch16_224 eva02_tiny_patch14_224 vit_tiny_patch16_224
        vit_relpos_small_patch16_224 vit_srelpos_small_patch16_224 samvit_base_patch16 mixer_s16_224 resmlp_12_224
        gmlp_ti16_224 xcit_nano_12_p16_224 convit_tiny tnt_s_patch16_224 pit_ti_224 crossvit_tiny_240 coat_lite_tiny
        coat_tiny sequencer2d_s test_vit test_vit2 vit_small_patch14_reg4_dinov2 vit_wee_patch16_reg1_gap_256
        vitamin_small_224 iformer_t efficientvim_m1 lowformer_b0""",
    224: """swin_tiny_patch4_window7_224 coatnet_pico_rw_224 volo_d1_224 mvitv2_tiny nest_tiny hiera_tiny_224
        gcvit_xxtiny""",
    256: """maxvit_pico_rw_256 maxvit_rmlp_pico_rw_256 swinv2_tiny_window8_256 botnet26t_256 halonet26t lambda_resnet26t
        sebotnet33ts_256 eca_halonext26ts bat_resnext26ts""",
}

NARROW = {"depth": 4, "embed_dim": 192, "num_heads": 3}
SETTINGS = {"beit_base_patch16_224": NARROW, "samvit_base_patch16": NARROW | {"global_attn_indexes": (1, 3)}}
"""Where the smallest of a family is large."""


def classifier(name: str, size: int) -> Made:
    """The network for images of this size where it can be told; else of its own."""
    settings = {"num_classes": CLASSES} | SETTINGS.get(name, {})
    try:
        module = timm.create_model(name, img_size=size, **settings)
    except (TypeError, AssertionError):
        module = timm.create_model(name, **settings)
    return module, {"x": torch.randn(1, 3, size, size)}


SUBJECTS: dict[str, Subject] = {
    f"timm-{name}": Subject(partial(classifier, name, size)) for size, names in SIZES.items() for name in names.split()
}
