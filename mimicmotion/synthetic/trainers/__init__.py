"""How the small weights of the toy world are made.

``weights/base`` is of earlier trainers: a VAE of eight components, and a base by AdamW with hand weight 3 and
confidence drawing (docs/log.md, 2026-11-26). As they stand, the trainers make the base that follows, and the
plain one of ``configs/ablation/hard.yaml`` (docs/ablation.md).
"""
