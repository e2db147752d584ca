"""What `bench.real_models` writes: networks of torchvision, timm and transformers at small but faithful sizes."""
