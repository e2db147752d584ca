"""transformers: language, vision, audio and what joins them, two layers deep and narrow."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from bench.exported.subject import Made, Subject

Settings = Mapping[str, Any]

WORDS, LENGTH, IMAGE = 128, 12, 64
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TEXT = {
    "vocab_size": WORDS, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
    "max_position_embeddings": 64, **TOKENS,
}  # fmt: skip
GROUPED = TEXT | {"num_key_value_heads": 2, "head_dim": 16}
T5 = {"vocab_size": WORDS, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4,
      "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}  # fmt: skip
BART = {
    "vocab_size": WORDS, "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "max_position_embeddings": 64,
    "decoder_start_token_id": 2, "forced_eos_token_id": None, **TOKENS,
}  # fmt: skip
VISION = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
          "image_size": IMAGE, "patch_size": 16}  # fmt: skip
SPEECH = {
    "vocab_size": 32, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
    "conv_dim": (32,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, **TOKENS,
}  # fmt: skip
CONVOLUTIONAL = {"backbone": None, "use_timm_backbone": False, "use_pretrained_backbone": False}
RESNET = {"model_type": "resnet", "embedding_size": 16, "hidden_sizes": [32, 48, 64, 96], "depths": [1, 1, 1, 1],
          "out_features": ["stage4"]}  # fmt: skip

KEPT = ("logits", "pred_boxes", "pred_masks", "logits_per_image", "text_embeds", "image_embeds", "predicted_depth",
        "reconstruction", "last_hidden_state", "pooler_output", "start_logits", "end_logits")  # fmt: skip


class Wrapped(nn.Module):
    """A model of transformers with positional inputs and a tuple of outputs, without a cache."""

    def __init__(self, model: nn.Module, names: list[str], settings: Settings) -> None:
        super().__init__()
        self.model, self.names, self.settings = model, names, settings

    def forward(self, *inputs: Tensor, **named: Tensor) -> tuple[Tensor, ...]:
        found = self.model(**dict(zip(self.names, inputs, strict=False)), **named, **self.settings, return_dict=True)
        kept = [found[key] for key in KEPT if isinstance(found.get(key), Tensor)]
        return tuple(kept[:2])


def made(kind: str, head: str, inputs: dict[str, Tensor], settings: Settings, call: Settings) -> Made:
    config = transformers.CONFIG_MAPPING[kind](**settings)
    model = getattr(transformers, head)
    make = model.from_config if head.startswith("Auto") else model._from_config
    return Wrapped(make(config, attn_implementation="eager"), list(inputs), call), inputs


def words(length: int = LENGTH, most: int = WORDS) -> Tensor:
    return torch.cat([torch.randint(3, most, (1, length - 2)), torch.tensor([[3, most - 1]])], 1)


def text() -> dict[str, Tensor]:
    return {"input_ids": words(), "attention_mask": torch.ones(1, LENGTH, dtype=torch.int64)}


def both() -> dict[str, Tensor]:
    return text() | {"decoder_input_ids": words(8)}


def picture(size: int = IMAGE) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(1, 3, size, size)}


def sound() -> dict[str, Tensor]:
    return {"input_values": torch.randn(1, 4000)}


def boxed() -> dict[str, Tensor]:
    return text() | {"bbox": torch.zeros(1, LENGTH, 4, dtype=torch.int64)}


def of(kind: str, head: str, inputs: Any, settings: Settings, *, is_dynamic: bool = True, **call: Any) -> Subject:
    return Subject(lambda: made(kind, head, inputs(), settings, call), is_dynamic)


def encoder(kind: str, settings: Settings = TEXT, head: str = "AutoModelForSequenceClassification") -> Subject:
    return of(kind, head, text, settings)


def causal(kind: str, settings: Settings = GROUPED) -> Subject:
    return of(kind, "AutoModelForCausalLM", text, settings, use_cache=False)


def seq2seq(kind: str, settings: Settings = BART) -> Subject:
    return of(kind, "AutoModelForSeq2SeqLM", both, settings, use_cache=False)


def image(kind: str, settings: Settings, head: str = "AutoModelForImageClassification", size: int = IMAGE) -> Subject:
    return of(kind, head, partial(picture, size), settings)


MODELS: dict[str, Subject] = {
    "bert": encoder("bert"),
    "bert_mlm": encoder("bert", head="AutoModelForMaskedLM"),
    "distilbert": encoder("distilbert", {"vocab_size": WORDS, "dim": 64, "n_layers": 2, "n_heads": 4,
                                         "hidden_dim": 128}),
    "albert": encoder("albert", TEXT | {"embedding_size": 32}),
    "roberta": encoder("roberta", TEXT | {"max_position_embeddings": 80}),
    "roberta_qa": encoder("roberta", TEXT | {"max_position_embeddings": 80}, "AutoModelForQuestionAnswering"),
    "electra": encoder("electra", TEXT | {"embedding_size": 32}),
    "mpnet": encoder("mpnet"),
    "xlnet": encoder("xlnet", {"vocab_size": WORDS, "d_model": 64, "n_layer": 2, "n_head": 4, "d_inner": 128}),
    "deberta": encoder("deberta", TEXT | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "deberta_v2": encoder("deberta-v2", TEXT | {
        "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 16, "share_att_key": True,
        "norm_rel_ebd": "layer_norm"}),
    "squeezebert": encoder("squeezebert", TEXT | {"embedding_size": 64}),
    "mobilebert": encoder("mobilebert", TEXT | {"embedding_size": 32, "intra_bottleneck_size": 32}),
    "modernbert": encoder("modernbert"),
    "camembert_ner": encoder("camembert", TEXT | {"max_position_embeddings": 80}, "AutoModelForTokenClassification"),
    "nystromformer": encoder("nystromformer", TEXT | {"segment_means_seq_len": 64, "num_landmarks": 12}),
    "fnet": of("fnet", "AutoModelForSequenceClassification", lambda: {"input_ids": words()}, TEXT),
    "funnel": encoder("funnel", {"vocab_size": WORDS, "block_sizes": [1, 1], "d_model": 64, "n_head": 4, "d_head": 16,
                                 "d_inner": 128}),
    "convbert": encoder("convbert", TEXT | {"embedding_size": 64}),
    "roformer": encoder("roformer", TEXT | {"embedding_size": 64}),
    "layoutlm": of("layoutlm", "AutoModelForTokenClassification", boxed, TEXT | {"max_2d_position_embeddings": 128}),
    "longformer": encoder("longformer", TEXT | {"attention_window": 4}),
    "big_bird": encoder("big_bird", TEXT | {"attention_type": "original_full"}),
    "t5": seq2seq("t5", T5),
    "t5_encoder": of("t5", "T5EncoderModel", text, T5),
    "mt5_gated": seq2seq("mt5", T5 | {"feed_forward_proj": "gated-gelu"}),
    "bart": seq2seq("bart"),
    "marian": seq2seq("marian"),
    "pegasus": seq2seq("pegasus"),
    "m2m_100": seq2seq("m2m_100"),
    "gpt2": causal("gpt2", {"vocab_size": WORDS, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64, **TOKENS}),
    "gpt_neo": causal("gpt_neo", {
        "vocab_size": WORDS, "hidden_size": 64, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 64,
        "attention_types": [[["global", "local"], 1]], "window_size": 8, **TOKENS}),
    "gptj": causal("gptj", {"vocab_size": WORDS, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64,
                            "rotary_dim": 8, **TOKENS}),
    "gpt_neox": causal("gpt_neox", TEXT),
    "gpt_bigcode": causal("gpt_bigcode", {"vocab_size": WORDS, "n_embd": 64, "n_layer": 2, "n_head": 4,
                                          "n_positions": 64, **TOKENS}),
    "opt": causal("opt", {"vocab_size": WORDS, "hidden_size": 64, "num_hidden_layers": 2, "ffn_dim": 128,
                          "num_attention_heads": 4, "max_position_embeddings": 64, "word_embed_proj_dim": 64,
                          **TOKENS}),
    "bloom": causal("bloom", {"vocab_size": WORDS, "hidden_size": 64, "n_layer": 2, "n_head": 4, **TOKENS}),
    "codegen": causal("codegen", {"vocab_size": WORDS, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64,
                                  "rotary_dim": 8, **TOKENS}),
    "llama": causal("llama"),
    "mistral": causal("mistral", GROUPED | {"sliding_window": 8}),
    "mixtral": causal("mixtral", GROUPED | {"num_local_experts": 4}),
    "qwen2": causal("qwen2"),
    "qwen3": causal("qwen3"),
    "qwen3_moe": causal("qwen3_moe", GROUPED | {"num_experts": 4, "moe_intermediate_size": 64,
                                               "num_experts_per_tok": 2}),
    "gemma": causal("gemma"),
    "gemma2": causal("gemma2", GROUPED | {"sliding_window": 8, "query_pre_attn_scalar": 16}),
    "gemma3": causal("gemma3_text", GROUPED | {"sliding_window": 8, "query_pre_attn_scalar": 16}),
    "phi": causal("phi", TEXT),
    "phi3": causal("phi3", TEXT | {"num_key_value_heads": 2}),
    "falcon": causal("falcon", TEXT | {"new_decoder_architecture": False, "multi_query": True}),
    "stablelm": causal("stablelm", TEXT | {"num_key_value_heads": 2}),
    "olmo2": causal("olmo2", GROUPED),
    "cohere": causal("cohere", GROUPED),
    "granite": causal("granite", TEXT | {"num_key_value_heads": 2}),
    "starcoder2": causal("starcoder2", TEXT | {"num_key_value_heads": 2}),
    "mpt": causal("mpt", {"vocab_size": WORDS, "d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 64}),
    "persimmon": causal("persimmon", TEXT),
    "smollm3": causal("smollm3", GROUPED),
    "xglm": causal("xglm", {"vocab_size": WORDS, "d_model": 64, "num_layers": 2, "attention_heads": 4, "ffn_dim": 128,
                            "max_position_embeddings": 64, **TOKENS}),
    "mamba": of("mamba", "AutoModelForCausalLM", lambda: {"input_ids": words()},
                {"vocab_size": WORDS, "hidden_size": 64, "num_hidden_layers": 2, **TOKENS}, use_cache=False),
    "rwkv": of("rwkv", "AutoModelForCausalLM", lambda: {"input_ids": words()},
               {"vocab_size": WORDS, "hidden_size": 64, "num_hidden_layers": 2, "attention_hidden_size": 64, **TOKENS},
               use_cache=False),
    "lfm2": causal("lfm2", GROUPED | {"layer_types": ["conv", "full_attention"]}),
    "whisper": of("whisper", "WhisperForConditionalGeneration",
                  lambda: {"input_features": torch.randn(1, 80, 200), "decoder_input_ids": words(8)},
                  BART | {"max_source_positions": 100, "max_target_positions": 64, "begin_suppress_tokens": None,
                          "suppress_tokens": None}, use_cache=False),
    "wav2vec2": of("wav2vec2", "AutoModelForCTC", sound, SPEECH),
    "hubert": of("hubert", "AutoModelForCTC", sound, SPEECH),
    "wavlm": of("wavlm", "AutoModelForCTC", sound, SPEECH),
    "wav2vec2_conformer": of("wav2vec2-conformer", "AutoModelForCTC", sound, SPEECH),
    "speech_to_text": of("speech_to_text", "AutoModelForSpeechSeq2Seq",
                         lambda: {"input_features": torch.randn(1, 80, 80), "decoder_input_ids": words(8)},
                         BART | {"max_source_positions": 100, "max_target_positions": 64}, use_cache=False),
    "ast": of("audio-spectrogram-transformer", "AutoModelForAudioClassification",
              lambda: {"input_values": torch.randn(1, 128, 64)}, VISION | {"max_length": 128, "num_mel_bins": 64}),
    "vits": of("vits", "VitsModel", lambda: {"input_ids": words(), }, {"vocab_size": WORDS, "hidden_size": 64,
               "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 64}),
    "clip": of("clip", "CLIPModel", lambda: text() | picture(),
               {"text_config": TEXT, "vision_config": VISION, "projection_dim": 32}),
    "siglip": of("siglip", "SiglipModel", lambda: text() | picture(), {"text_config": TEXT, "vision_config": VISION}),
    "clipseg": of("clipseg", "CLIPSegForImageSegmentation", lambda: text() | picture(),
                  {"text_config": TEXT, "vision_config": VISION, "projection_dim": 32, "reduce_dim": 16,
                   "extract_layers": [0, 1], "decoder_num_attention_heads": 2, "decoder_intermediate_size": 32}),
    "blip": of("blip", "BlipForImageTextRetrieval", lambda: text() | picture(),
               {"text_config": TEXT | {"encoder_hidden_size": 64}, "vision_config": VISION,
                "image_text_hidden_size": 32}, use_itm_head=False),
    "owlvit": of("owlvit", "OwlViTForObjectDetection", lambda: text() | picture(),
                 {"text_config": TEXT | {"max_position_embeddings": LENGTH}, "vision_config": VISION,
                  "projection_dim": 64}),
    "vilt": of("vilt", "ViltModel", lambda: text() | picture(), TEXT | VISION | {"max_image_length": -1}),
    "vit": image("vit", VISION),
    "deit": image("deit", VISION),
    "beit": image("beit", VISION | {"use_relative_position_bias": True}),
    "dinov2": image("dinov2", VISION),
    "dinov3": image("dinov3_vit", VISION, "AutoModel"),
    "swin": image("swin", {"image_size": 64, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}),
    "swinv2": image("swinv2", {"image_size": 64, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4],
                               "window_size": 4}),
    "segformer": image("segformer", {"hidden_sizes": [16, 32, 40, 64], "depths": [1, 1, 1, 1],
                                     "decoder_hidden_size": 32}, "AutoModelForSemanticSegmentation"),
    "mobilevit": image("mobilevit", {"image_size": 64, "hidden_sizes": [32, 48, 64],
                                     "neck_hidden_sizes": [8, 16, 24, 32, 40, 48, 64]}),
    "pvt": image("pvt", {"image_size": 64, "hidden_sizes": [16, 32, 40, 64], "depths": [1, 1, 1, 1]}),
    "levit": image("levit", {"image_size": 64, "hidden_sizes": [32, 48, 64], "depths": [1, 1, 1],
                             "num_attention_heads": [2, 3, 4], "key_dim": [16, 16, 16]}, "LevitForImageClassification"),
    "poolformer": image("poolformer", {"hidden_sizes": [16, 32, 40, 64], "depths": [1, 1, 1, 1]}),
    "cvt": image("cvt", {"embed_dim": [16, 32, 64], "depth": [1, 1, 1]}),
    "convnextv2": image("convnextv2", {"hidden_sizes": [16, 32, 40, 64], "depths": [1, 1, 1, 1]}),
    "bit": image("bit", {"embedding_size": 16, "hidden_sizes": [32, 48, 64, 96], "depths": [1, 1, 1, 1]}),
    "upernet": image("upernet", CONVOLUTIONAL | {"backbone_config": RESNET | {
        "out_features": ["stage1", "stage2", "stage3", "stage4"]}, "hidden_size": 32, "auxiliary_in_channels": 64},
        "UperNetForSemanticSegmentation"),
    "dpt": image("dpt", VISION | {"num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3],
                                  "fusion_hidden_size": 32,
                                  "neck_hidden_sizes": [16, 32, 32, 64], "is_hybrid": False}, "DPTForDepthEstimation"),
    "detr": image("detr", CONVOLUTIONAL | {
        "backbone_config": RESNET, "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 128,
        "decoder_ffn_dim": 128, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_queries": 10},
        "DetrForObjectDetection"),
    "conditional_detr": image("conditional_detr", CONVOLUTIONAL | {
        "backbone_config": RESNET, "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 128,
        "decoder_ffn_dim": 128, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_queries": 10},
        "ConditionalDetrForObjectDetection"),
    "deformable_detr": image("deformable_detr", CONVOLUTIONAL | {
        "backbone_config": RESNET | {"out_features": ["stage2", "stage3", "stage4"]}, "d_model": 64,
        "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_queries": 10, "num_feature_levels": 3},
        "DeformableDetrForObjectDetection"),
    "rt_detr": image("rt_detr", {
        "backbone_config": {"model_type": "rt_detr_resnet", "embedding_size": 16, "hidden_sizes": [16, 32, 48, 64],
                            "depths": [1, 1, 1, 1], "out_features": ["stage2", "stage3", "stage4"]},
        "encoder_in_channels": [32, 48, 64], "encoder_hidden_dim": 32, "d_model": 32, "encoder_layers": 1,
        "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "num_queries": 20, "decoder_in_channels": [32, 32, 32]},
        "RTDetrForObjectDetection"),
    "yolos": image("yolos", VISION | {"image_size": [64, 64], "num_detection_tokens": 10}, "YolosForObjectDetection"),
    "maskformer_swin": image("swin2sr", {"image_size": 32, "embed_dim": 16, "depths": [2], "num_heads": [2],
                                         "window_size": 4}, "Swin2SRForImageSuperResolution", 32),
    "sam": of("sam", "SamModel", lambda: picture(64) | {"input_points": torch.rand(1, 1, 2, 2) * 60}, {
        "vision_config": {"hidden_size": 32, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                          "image_size": 64, "patch_size": 16, "mlp_dim": 64, "window_size": 2,
                          "global_attn_indexes": [1], "num_pos_feats": 8},
        "prompt_encoder_config": {"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        "mask_decoder_config": {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
    }, is_dynamic=False),
    "vit_mae": image("vit_msn", VISION),
    "videomae": of("videomae", "VideoMAEForVideoClassification",
                   lambda: {"pixel_values": torch.randn(1, 4, 3, 64, 64)}, VISION | {"num_frames": 4}),
    "timesformer": of("timesformer", "TimesformerForVideoClassification",
                      lambda: {"pixel_values": torch.randn(1, 4, 3, 64, 64)}, VISION | {"num_frames": 4}),
    "trocr": causal("trocr", BART),
    "perceiver": of("perceiver", "PerceiverForMaskedLM", lambda: {"inputs": words(), },
                    {"vocab_size": WORDS, "d_model": 64, "num_latents": 8, "d_latents": 64, "num_blocks": 1,
                     "num_self_attends_per_block": 2, "num_self_attention_heads": 4, "num_cross_attention_heads": 4,
                     "max_position_embeddings": LENGTH, "qk_channels": 64, "v_channels": 64}),
    "esm": encoder("esm", TEXT | {"position_embedding_type": "rotary", "mask_token_id": 4}, "AutoModelForMaskedLM"),
    "canine": encoder("canine", TEXT | {"local_transformer_stride": 4, "upsampling_kernel_size": 4,
                                        "num_hash_buckets": 32, "num_hash_functions": 4, "downsampling_rate": 4}),
    "patchtst": of("patchtst", "PatchTSTForPrediction", lambda: {"past_values": torch.randn(1, 32, 3)},
                   {"num_input_channels": 3, "context_length": 32, "prediction_length": 8, "patch_length": 8,
                    "patch_stride": 8, "d_model": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64}),
}  # fmt: skip

SUBJECTS: dict[str, Subject] = {f"hf-{name}": subject for name, subject in MODELS.items()}
