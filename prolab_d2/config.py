"""Every configuration key that this project adds to Detectron2's."""

from __future__ import annotations

import importlib

from detectron2.config import CfgNode

__all__ = ["add_prolab_config"]


def add_prolab_config(cfg: CfgNode) -> None:
    """Adds the keys of this project to `cfg` (from `detectron2.config.get_cfg()`), in place.

    Also registers the meta-architecture, heads, backbones and data sets that the keys name.
    """
    for module in ("data", "modeling.backbones", "modeling.property_segmentor"):
        importlib.import_module(f"prolab_d2.{module}")
    _add_model(cfg)
    _add_adapters(cfg)
    _add_input_and_data(cfg)
    _add_solver_and_test(cfg)


def _add_model(cfg: CfgNode) -> None:
    cfg.MODEL.META_ARCHITECTURE = "PropertySegmentor"

    prolab = cfg.MODEL.PROLAB = CfgNode()
    # Name of a shipped label space or a folder that holds one.
    prolab.LABEL_SPACE = ""
    # "property": property activations and their loss (the method).
    # "category": one-hot labels and cross-entropy with the same network (the baseline).
    # "text": the pixel embedding is compared with one text embedding per category, the mean of its
    # sentences', and learns by cross-entropy: a baseline without properties that, like them, can
    # be given other categories at test time.
    prolab.SUPERVISION = "property"
    # "cosine_sigmoid": activations are sigmoid(logits / TEMPERATURE). "cosine": the logits.
    prolab.SIMILARITY = "cosine_sigmoid"
    # Divides the logits before the sigmoid; unused with "cosine".
    prolab.TEMPERATURE = 0.04
    # Divides the cosine similarities before the softmax, with "text" supervision.
    prolab.TEXT_TEMPERATURE = 0.07
    # Divide each pixel embedding by its length before it meets the bank.
    prolab.NORMALIZE_EMBEDDING = False
    # "cosine", "bce" or "mse".
    prolab.LOSS = "cosine"
    # How much each property counts when pixels are compared with signatures, by a file that
    # tools/ground_properties.py writes; "" for all alike. The loss does not depend on it.
    prolab.PROPERTY_WEIGHTS = ""
    # Pixels without a label: "ignore" leaves them out, "count" gives them an all-zero target
    # (what the published code does).
    prolab.UNLABELLED = "ignore"
    # Weight of the loss of the decode head.
    prolab.LOSS_WEIGHT = 1.0
    # Probability that a channel is dropped before the projection to the pixel embedding.
    prolab.DROPOUT = 0.1
    # Iterations at the start with one-hot labels and cross-entropy on the same features, before the
    # properties take over (paper, section 4.1: 40,000 for ViT-L). Evaluations are by properties.
    prolab.CATEGORY_WARMUP_ITERS = 0
    # Load a checkpoint that was trained with another label space (its bank is not used then).
    prolab.ALLOW_OTHER_LABEL_SPACE = False
    # With --eval-only: a label space whose categories the model is tested on, whatever it was
    # trained with. DATASETS.TEST must have these categories.
    prolab.TEST_LABEL_SPACE = ""
    # How its categories are answered, each way by itself: "swap" (its own bank and signatures, as
    # the published code does), "extend" (signatures in the trained properties), "nearest" (the
    # trained category with the nearest sentences), "conse" (trained categories' sentences mixed by
    # their probabilities, with "category" supervision). [] for those that need no baseline.
    prolab.TEST_WAYS = []
    # Above 0: test "swap", "extend" and "conse" again with calibrated stacking: categories that
    # were not trained get offsets to their scores, which may cost the trained ones so many points
    # of mIoU on images of DATASETS.TRAIN. That has to be what was trained on; 1.0 is usual.
    prolab.TEST_STACKING = 0.0

    # timm model that serves as backbone with MODEL.BACKBONE.NAME "build_timm_backbone".
    timm = cfg.MODEL.TIMM = CfgNode()
    # Any timm model with features at strides 4, 8, 16 and 32.
    timm.NAME = "resnet50"
    # "" (random), "hub" (timm's own download), a file, or "package:<name of a Python package>".
    timm.WEIGHTS = ""
    # Stochastic depth.
    timm.DROP_PATH_RATE = 0.0
    # 16 or 8: the last stages are dilated and keep this stride, as DeepLab does. Convolutional
    # networks only.
    timm.OUTPUT_STRIDE = 32

    head = cfg.MODEL.DECODE_HEAD = CfgNode()
    # A class of DECODE_HEADS_REGISTRY.
    head.NAME = "UPerNetHead"
    # Backbone features from fine to coarse.
    head.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    # Width of the head and of the feature map that it returns.
    head.CHANNELS = 512
    # "BN", "SyncBN" (plain BN in a single process), "GN", ...: names of Detectron2's get_norm.
    head.NORM = "SyncBN"
    # UPerNet: grid sizes of the pyramid pooling.
    head.POOL_SCALES = [1, 2, 3, 6]
    # FCN: number of 3x3 convolutions.
    head.NUM_CONVS = 2
    # FCN: concatenate the input once more before a last convolution.
    head.CONCAT_INPUT = True
    # DeepLabV3+: one branch for each dilation; 1 is a 1x1 convolution.
    head.DILATIONS = [1, 6, 12, 18]
    # DeepLabV3+: width of the low-level branch, which exists where IN_FEATURES names two.
    head.LOW_LEVEL_CHANNELS = 48

    aux = cfg.MODEL.AUX_HEAD = head.clone()
    # "" switches the auxiliary head off. It exists in training only.
    aux.NAME = "FCNHead"
    aux.IN_FEATURES = ["res4"]
    aux.CHANNELS = 256
    aux.NUM_CONVS = 1
    aux.CONCAT_INPUT = False
    # Weight of its loss.
    aux.LOSS_WEIGHT = 0.4


def _add_adapters(cfg: CfgNode) -> None:
    # ViT-Adapter, with MODEL.BACKBONE.NAME "build_vit_adapter_backbone"; DeiT-B unless set.
    vit = cfg.MODEL.VIT_ADAPTER = CfgNode()
    # Width, blocks and heads of the transformer.
    vit.EMBED_DIM = 768
    vit.DEPTH = 12
    vit.NUM_HEADS = 12
    # Inner width of its feed-forward networks, relative to EMBED_DIM.
    vit.MLP_RATIO = 4.0
    # Of the transformer: "" (random), a file (also .npz of AugReg, .onnx of DINOv2),
    # "hub:<timm model>", or "package:<name of a Python package>".
    vit.WEIGHTS = ""
    # Stochastic depth of the last block (less before it) and of the adapter.
    vit.DROP_PATH_RATE = 0.0
    # Channels of the convolutional branch at stride 4.
    vit.CONV_INPLANE = 64
    # Deformable attention: points of every head in every level, heads, width relative to EMBED_DIM.
    vit.N_POINTS = 4
    vit.DEFORM_NUM_HEADS = 12
    vit.DEFORM_RATIO = 0.5
    # Inner width of the adapter's feed-forward networks, relative to EMBED_DIM; 0 for none.
    vit.CFFN_RATIO = 0.25
    # [first, last] block of every interaction; [] for four equal parts.
    vit.INTERACTION_INDEXES = []
    # Start of the factors by which the transformer reads the convolutional branch.
    vit.INIT_VALUES = 0.0
    # Two more extractors in the last interaction.
    vit.USE_EXTRA_EXTRACTOR = True
    # Add the transformer's tokens to the features.
    vit.ADD_VIT_FEATURE = True
    # Activation checkpointing: less memory, about a third more time in training.
    vit.WITH_CP = False
    # Of the convolutional branch and the features; see MODEL.DECODE_HEAD.NORM.
    vit.NORM = "SyncBN"

    # BEiT-Adapter, with MODEL.BACKBONE.NAME "build_beit_adapter_backbone"; BEiT-L unless set.
    beit = cfg.MODEL.BEIT_ADAPTER = vit.clone()
    beit.EMBED_DIM = 1024
    beit.DEPTH = 24
    beit.NUM_HEADS = 16
    beit.DEFORM_NUM_HEADS = 16
    beit.WITH_CP = True
    # Of every image, in pixels: smaller ones are padded, larger ones need sliding windows.
    beit.IMG_SIZE = [640, 640]
    # A bias for queries and values.
    beit.QKV_BIAS = True
    # A table of relative positions in every block; without them images have any size.
    beit.USE_REL_POS_BIAS = True
    # Also the start of the layer scales.
    beit.INIT_VALUES = 1e-6

    # Side of the images that the position embeddings are for, in pixels.
    vit.PRETRAIN_SIZE = 224
    # Learn factors of every block's two parts.
    vit.LAYER_SCALE = True
    # Side of every block's attention windows in tokens, 0 for the whole image; [] for no windows.
    vit.WINDOW_SIZES = []


def _add_input_and_data(cfg: CfgNode) -> None:
    # Random factor on top of the resize to MIN_SIZE_TRAIN / MAX_SIZE_TRAIN.
    cfg.INPUT.SCALE_RANGE = [0.5, 2.0]
    # Crop again (10 times at most) while one category covers more than this share of the labels.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 0.75
    # Random brightness, contrast, saturation and hue.
    cfg.INPUT.PHOTOMETRIC_DISTORTION = True
    # Raise both sides of a test image to a multiple of this by a second resize; the published
    # pipeline has 32, which changes the ratio of the sides slightly.
    cfg.INPUT.TEST_SIZE_MULTIPLE = 1
    # A data set folder (images/<split>, annotations/<split>, categories.txt). When set,
    # DATASETS.TRAIN and DATASETS.TEST are taken from its splits "train" and "val".
    # Several are joined as in PATH (":", on Windows ";").
    cfg.DATASETS.FOLDER = ""
    # Categories that training and its evaluations do not know: their pixels are unlabelled, the
    # label space has only the others.
    cfg.DATASETS.HELD_OUT = []
    # How often an image of each data set of DATASETS.TRAIN is drawn, in any unit; [] for all images
    # equally often. Data sets with different categories need a label space that has them all.
    cfg.DATASETS.SAMPLING_WEIGHTS = []


def _add_solver_and_test(cfg: CfgNode) -> None:
    # "ADAMW" or "SGD".
    cfg.SOLVER.OPTIMIZER = "ADAMW"
    # Learning rate of the backbone relative to BASE_LR.
    cfg.SOLVER.BACKBONE_MULTIPLIER = 1.0
    # The learning rate falls by this factor from block to block of a transformer, down to its
    # input; 1 switches that off.
    cfg.SOLVER.LAYER_DECAY = 1.0
    # Weight decay for position, level and token embeddings, too, as in the published training.
    cfg.SOLVER.DECAY_EMBEDDINGS = True
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupPolyLR"
    # With SOLVER.AMP.ENABLED: "float16" (with scaled losses) or "bfloat16".
    cfg.SOLVER.AMP.PRECISION = "float16"
    # With SOLVER.CLIP_GRADIENTS.ENABLED: "full_model" (CLIP_VALUE bounds the norm of all gradients
    # together), or Detectron2's "norm" and "value", parameter by parameter.
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "full_model"
    # Batches of IMS_PER_BATCH whose mean gradient makes one iteration.
    cfg.SOLVER.ACCUMULATE = 1
    # Evaluate and keep an exponential moving average of the weights, for example 0.999; 0 is off.
    cfg.SOLVER.EMA_DECAY = 0.0
    # Exponent of the polynomial decay.
    cfg.SOLVER.POLY_LR_POWER = 1.0
    # The decay ends at this fraction of the learning rate.
    cfg.SOLVER.END_LR_FACTOR = 0.0

    # "labels": (H, W) category ids, resized and decided in bands. "scores": Detectron2's contract,
    # (N, H, W) scores under "sem_seg". Both decide alike.
    cfg.TEST.OUTPUT = "labels"
    # Above 0: answers have a background with the id 0 in front of the categories of the label
    # space, which wins where no category has at least half this probability (softmax of the
    # scores). 0.107 is the published value for the 21 labels of Pascal VOC; 0 switches it off.
    cfg.TEST.BACKGROUND_THRESHOLD = 0.0
    # Also evaluate every property (IoU and average precision).
    cfg.TEST.PROPERTIES = False
    # The metric whose best value decides which checkpoint is model_best.pth. With several data
    # sets to test on, "sem_seg/..." is the mean over them.
    cfg.TEST.BEST_METRIC = "sem_seg/mIoU"
    window = cfg.TEST.SLIDING_WINDOW = CfgNode()
    # Windows instead of the whole image at once.
    window.ENABLED = False
    # Height and width of a window, in pixels of the resized image.
    window.CROP_SIZE = [512, 512]
    # Step from window to window.
    window.STRIDE = [341, 341]
    # Windows that go through the network together.
    window.BATCH_SIZE = 4
