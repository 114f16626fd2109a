"""Names under which data sets know the same category."""

from __future__ import annotations

__all__ = ["PARTS", "SYNONYMS", "concept", "plain_name", "shared_name"]

# What one data set calls so, another calls otherwise; both have the same sentences in the label
# spaces that come with the package. A whole list of names is here where its first name would mean
# something else.
SYNONYMS = {
    "aeroplane": "airplane",
    "baby buggy": "baby carriage",
    "bag, handbag, pocketbook, purse": "handbag",
    "bag, traveling bag, travelling bag, grip, suitcase": "suitcase",
    "basket, basketball hoop, hoop": "basketball hoop",
    "building-other": "building",
    "butane gas cylinder": "gas cylinder",
    "candlestick": "candle holder",
    "ceiling-other": "ceiling",
    "card game": "poker",
    "cellular telephone": "cell phone",
    "chopping board": "cutting board",
    "coffee maker": "coffee machine",
    "control panel, instrument panel, control board, board, panel": "control board",
    "desk-stuff": "desk",
    "diningtable": "dining table",
    "door-stuff": "door",
    "drop": "waterdrops",
    "envelopes": "envelope",
    "fire place": "fireplace",
    "fireplug": "fire hydrant",
    "flag pole": "flagstaff",
    "floor-other": "floor",
    "food-other": "food",
    "fridge": "refrigerator",
    "grill, grille, grillwork": "grille",
    "ground-other": "ground",
    "hair dryer": "hair drier",
    "loudspeaker": "speaker",
    "minibike": "motorcycle",
    "mirror-stuff": "mirror",
    "motorbike": "motorcycle",
    "mousepad": "mouse pad",
    "patio, terrace": "terrace",
    "photocopier": "copying machine",
    "picture": "painting",
    "pillar": "column",
    "pipe, tube": "tube",
    "plant-other": "plant",
    "post-it": "sticky note",
    "postbox": "mailbox",
    "pottedplant": "potted plant",
    "racket": "tennis racket",
    "railroad": "track",
    "range hood": "hood",
    "remote control": "remote",
    "screen, crt screen": "crt screen",
    "security camera": "surveillance camera",
    "shelves": "shelf",
    "shopping carts": "shopping cart",
    "sidewalk": "pavement",
    "sign": "traffic sign",
    "signal light": "traffic light",
    "ski": "skis",
    "sky-other": "sky",
    "sofa": "couch",
    "spanners": "spanner",
    "spectacles": "eyeglass",
    "stair": "stairs",
    "sunglasses": "sunglass",
    "sunshade": "awning",
    "television receiver": "tv",
    "tongs": "tong",
    "toy": "plaything",
    "traffic cone": "cone",
    "trash bin": "ashcan",
    "tvmonitor": "tv",
    "wall socket": "outlet",
    "wall-other": "wall",
    "washing machine": "washer",
    "water cooler": "water dispenser",
    "water faucet": "tap",
    "water-other": "water",
    "wharf": "pier",
    "window blinds": "blind",
    "window-blind": "blind",
    "window-other": "window",
    "windowpane": "window",
    "wineglass": "wine glass",
}
# A data set's name for most of what another has under a wider one, or for several of it. The
# sentences differ, but who has learnt one has seen the other.
PARTS = {
    "pedestrian": "person",
    "sign symbol": "traffic sign",
    "barrels": "barrel",
    "baskets": "basket",
    "beds": "bed",
    "bowls": "bowl",
    "breads": "bread",
    "buckets": "bucket",
    "bulbs": "light bulb",
    "cages": "cage",
    "cds": "cd",
    "cups": "cup",
    "dumbbells": "dumbbell",
    "dvds": "dvd",
    "eyeglasses": "eyeglass",
    "grand piano": "piano",
    "gym shoe": "shoe",
    "handrail": "bannister",
    "hangers": "hanger",
    "headstones": "gravestone",
    "hen": "chicken",
    "meters": "meter",
    "monitors": "monitor",
    "motorboat": "boat",
    "notice board": "bulletin board",
    "pallets": "pallet",
    "plant pots": "pot",
    "pool": "swimming pool",
    "pool balls": "pool ball",
    "post box": "mailbox",
    "racquet": "tennis racket",
    "rail": "railing",
    "rifle": "gun",
    "scarfs": "scarf",
    "shanties": "shanty",
    "shops": "shop",
    "shower faucet": "faucet",
    "skirting board": "baseboard",
    "soaps": "soap",
    "spotlights": "spotlight",
    "statue": "sculpture",
    "sticks": "stick",
    "sweatshirts": "sweatshirt",
    "tables": "table",
    "tanks": "tank",
    "ticket office": "box office",
    "tins": "can",
    "tombstones": "gravestone",
    "tools": "tool",
    "towel rail": "towel rack",
    "tracks": "track",
    "trash bags": "trash bag",
    "videos": "video",
    "washing machines": "washer",
    "wheels": "wheel",
}


def plain_name(name: str) -> str:
    """The name in lower case and with single spaces: names that differ in no more are the same."""
    return " ".join(name.lower().split())


def shared_name(name: str) -> str:
    """The name under which the label spaces here share the sentences of a category.

    Of a list of names ("building, edifice") the first counts, unless SYNONYMS has the whole list.
    """
    name = plain_name(name)
    if name not in SYNONYMS:
        name = name.partition(",")[0]
    return SYNONYMS.get(name, name)


def concept(name: str) -> str:
    """One name for all that mean the same, in lower case."""
    name = shared_name(name)
    return PARTS.get(name, name)
