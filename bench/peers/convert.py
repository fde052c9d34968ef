"""Dequantises a GGUF file into bf16: a Hugging Face folder with its tokenizer, or another GGUF file."""

import argparse
import json
import os
from pathlib import Path


def to_hugging_face(model, out):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(model.parent, gguf_file=model.name, dtype=torch.bfloat16)
    plain = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in loaded.state_dict().items()}
    config = loaded.config
    config.tie_word_embeddings = is_tied(plain["model.embed_tokens.weight"], plain["lm_head.weight"])
    if config.tie_word_embeddings:
        plain["model.embed_tokens.weight"] = plain["lm_head.weight"]
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    del loaded
    copy = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    copy.load_state_dict(plain)
    copy.save_pretrained(out)
    AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name).save_pretrained(out)


def is_tied(embedding, head):
    """Whether both are one matrix: quantisers may store it twice, in two formats, of which the head's is the finer."""
    embedding, head = (matrix[:4096].float().flatten() for matrix in (embedding, head))
    return bool(embedding @ head > 0.7 * embedding.norm() * head.norm())


def to_gguf(model, out):
    import gguf
    import numpy

    reader = gguf.GGUFReader(model)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(out, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type", "general.quantization_version"):
            continue
        kind = field.types[0]
        element = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=element)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        if values.ndim > 1:
            words = gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16)
            writer.add_tensor(tensor.name, words, raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--kind", choices=["hf", "gguf"], required=True)
options.add_argument("--model", type=Path, required=True)
options.add_argument("--out", type=Path, required=True)
chosen = options.parse_args()
unfinished = chosen.out.with_name(chosen.out.name + ".part")
(to_hugging_face if chosen.kind == "hf" else to_gguf)(chosen.model, unfinished)
os.replace(unfinished, chosen.out)
print(json.dumps({"out": str(chosen.out)}))
