"""Records the inputs of torchmultimodal's own tests of ALBEF: losses and fusion encoder.

Writes `tests/golden/torchmultimodal/inputs.npz`; the values that its tests expect stand in
`tests/parity/test_torchmultimodal.py`. It needs torch, and a checkout of the repository
facebookresearch/multimodal for the weights of the encoder, in an environment of its own.

Example:
    python -m tools.record_torchmultimodal path/to/multimodal
"""

import argparse
import random
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "tests/golden/torchmultimodal"


def record(checkout: str) -> None:
    """Draw what the tests draw, in their order, from their seed."""
    sys.path.insert(0, checkout)
    import numpy as np
    import torch
    from torchmultimodal.models.albef.multimodal_encoder import ALBEFMultimodalEncoder

    def seed() -> None:
        torch.manual_seed(0)
        random.seed(0)

    arrays = {}
    seed()
    for name in ("image_to_text", "text_to_image", "image_to_text_m", "text_to_image_m"):
        arrays[f"contrast/{name}"] = torch.randn(2, 3)
    seed()
    arrays["answers/labels"] = torch.randint(10, (2, 5))
    for name in ("scores", "scores_m"):
        arrays[f"answers/{name}"] = torch.randn(2, 5, 20)
    seed()
    encoder = ALBEFMultimodalEncoder(hidden_size=3, num_attention_heads=1)
    for name in ("image", "text"):
        arrays[f"encoder/{name}"] = torch.randn(2, 2, 3)
    weights = {f"encoder/{name}": weight for name, weight in encoder.state_dict().items()}
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        FOLDER / "inputs.npz",
        **{name: array.numpy() for name, array in {**arrays, **weights}.items()},
    )


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.record_torchmultimodal",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkout", help="folder of the repository facebookresearch/multimodal")
    record(parser.parse_args().checkout)


if __name__ == "__main__":
    main()
