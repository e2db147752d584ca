"""Networks as people write them, small and seeded: what exports, imports and channel analysis are tried on."""

from collections.abc import Callable

from tests.networks import convolutional, decoders, detectors, mobile, recurrent, signals, transformers
from tests.networks.example import Example

NETWORKS: dict[str, Callable[[], Example]] = {
    build.__name__: build
    for build in (
        convolutional.plain,
        convolutional.resnet,
        convolutional.densenet,
        convolutional.inception,
        convolutional.unet,
        mobile.mobilenet_v2,
        mobile.efficientnet,
        mobile.shufflenet_v1,
        mobile.shufflenet_v2,
        mobile.resnext,
        detectors.retinanet,
        detectors.ssd,
        detectors.yolo,
        transformers.bert,
        transformers.vit,
        transformers.vit_sdpa,
        transformers.torch_encoder,
        transformers.cross_attention,
        decoders.llama,
        decoders.llama_sdpa,
        decoders.gpt,
        recurrent.lstm,
        recurrent.lstm_bidirectional,
        recurrent.gru_bidirectional,
        recurrent.gru_with_state,
        recurrent.elman,
        signals.audio,
        signals.wavenet,
        signals.generator,
        signals.super_resolution,
    )
}
