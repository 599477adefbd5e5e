"""Writes tiny SAM-3 checkpoints in the official folder's layout: made-up weights, 4 million numbers, a tokenizer of single letters.

Sizes are the smallest that transformers' model takes: its memory is 64 wide by a constant, so all that is 256 wide in the published model
is 128 here; masks have 32 x 32 cells over a picture of 112 x 112.

Random weights find nobody. With ``finds=True`` a few biases are set so that on any picture at all one person is found, confirmed and
followed, and the mask is nearly the whole picture:

- the detector's score is its product of projected query and text: weights 0 and biases 1.5 make the logit 1.5² · √128, cut at 12, and
  the presence head says 10: probability 1 for each of four queries;
- the mask embedding is the same for all queries, and along it the pixels' projection has a positive bias: four equal masks, of which
  the suppression of duplicates leaves one;
- the tracker's object score has a bias of 10; its finest feature map one of 4 on all channels and its mask heads end in ones, so the
  mask is positive where the picture's own share, which is small, does not turn it.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

SIZE, PATCH, DIM, GRID = 112, 14, 128, 8


def tiny_config(**changes: Any) -> Any:
    """Sam3VideoConfig of the tiny model."""
    from transformers import Sam3VideoConfig

    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIZE,
        "patch_size": PATCH,
        "window_size": 4,
        "pretrain_image_size": 4 * PATCH,
        "global_attn_indexes": [1],
    }
    vision = {
        "model_type": "sam3_vision_model",
        "fpn_hidden_size": DIM,
        "backbone_feature_sizes": [[4 * GRID] * 2, [2 * GRID] * 2, [GRID] * 2],
        "backbone_config": backbone,
    }
    return Sam3VideoConfig(
        detector_config=_detector(vision),
        tracker_config=_tracker(vision),
        low_res_mask_size=4 * GRID,
        hotstart_delay=0,
        **_hotstart(),
        **changes,
    )


def write_tiny_sam3(folder: Path, seed: int = 0, *, finds: bool = True) -> Path:
    """config.json, model.safetensors (17 MB), processor_config.json and the tokenizer's files into ``folder``."""
    from transformers import Sam3VideoModel

    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = Sam3VideoModel(tiny_config()).eval()
    torch.random.set_rng_state(state)
    with torch.no_grad():
        mark_visible(model)
        if finds:
            mark_detected(model)
    folder.mkdir(parents=True, exist_ok=True)
    # Not save_pretrained, which doubles the tracker's name in the keys: the published file has it once.
    model.config.architectures = ["Sam3VideoModel"]
    model.config.save_pretrained(folder)
    save_file(
        {key: tensor.contiguous().clone() for key, tensor in model.state_dict().items()}, folder / "model.safetensors", {"format": "pt"}
    )
    letter_tokenizer().save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps(_processor(), indent=1))
    return folder


def _detector(vision: dict[str, Any]) -> dict[str, Any]:
    detr = {"hidden_size": DIM, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    text = {
        "model_type": "clip_text_model",
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "projection_dim": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
        "hidden_act": "gelu",
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    return {
        "model_type": "sam3",
        "vision_config": vision,
        "text_config": text,
        "geometry_encoder_config": detr,
        "detr_encoder_config": detr,
        "detr_decoder_config": {**detr, "num_queries": 4},
        "mask_decoder_config": {"hidden_size": DIM, "num_attention_heads": 2},
    }


def _tracker(vision: dict[str, Any]) -> dict[str, Any]:
    return {
        "model_type": "sam3_tracker_video",
        "vision_config": vision,
        "image_size": SIZE,
        "prompt_encoder_config": {"hidden_size": DIM, "image_size": SIZE, "patch_size": PATCH, "mask_input_channels": 8},
        "mask_decoder_config": {"hidden_size": DIM, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 64},
        "memory_attention_hidden_size": DIM,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 64,
        "memory_attention_rope_feat_sizes": [GRID, GRID],
        "memory_encoder_hidden_size": DIM,
        "memory_encoder_output_channels": 64,
        "mask_downsampler_embed_dim": DIM,
        "memory_fuser_embed_dim": DIM,
        "memory_fuser_intermediate_dim": 64,
        "memory_fuser_num_layers": 1,
    }


def _hotstart() -> dict[str, int]:
    return {"hotstart_unmatch_thresh": 0, "hotstart_dup_thresh": 0}


def mark_visible(model: Any) -> None:
    """Random weights say now that somebody is there and now that nobody is: say always that somebody is."""
    model.tracker_model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(10.0)


def mark_detected(model: Any) -> None:
    detector, tracker = model.detector_model, model.tracker_model
    scoring = detector.dot_product_scoring
    for layer in (scoring.text_proj, scoring.query_proj):
        layer.weight.zero_()
        layer.bias.fill_(1.5)
    presence = list(detector.detr_decoder.presence_head.children())[-1]
    presence.weight.zero_()
    presence.bias.fill_(10.0)
    masks = detector.mask_decoder
    last = masks.mask_embedder.layers[-1]
    last.weight.zero_()
    last.bias.fill_(1 / DIM)
    masks.instance_projection.bias.fill_(1.0)
    tracker.mask_decoder.conv_s0.bias.fill_(4.0)
    for head in tracker.mask_decoder.output_hypernetworks_mlps:
        head.proj_out.weight.mul_(0.1)
        head.proj_out.bias.fill_(1.0)


def letter_tokenizer() -> Any:
    """CLIP's, of single letters: byte-pair merging needs each both inside and at the end of a word; there are no merges."""
    from transformers import CLIPTokenizer

    letters = [form for letter in "abcdefghijklmnopqrstuvwxyz" for form in (letter, letter + "</w>")]
    vocabulary = {word: i for i, word in enumerate(["<|startoftext|>", "<|endoftext|>", *letters])}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=32)


def _processor() -> dict[str, Any]:
    picture = {
        "size": {"height": SIZE, "width": SIZE},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "resample": 2,
        "rescale_factor": 1 / 255,
    }
    return {
        "processor_class": "Sam3VideoProcessor",
        "target_size": SIZE,
        "image_processor": {**picture, "image_processor_type": "Sam3ImageProcessor", "mask_size": {"height": 4 * GRID, "width": 4 * GRID}},
        "video_processor": {**picture, "video_processor_type": "Sam2VideoVideoProcessor"},
        "point_pad_value": -10,
    }
