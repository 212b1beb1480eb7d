"""One colour-blind-safe palette (Okabe and Ito 2008) and the roles that its colours play everywhere."""

ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#8A8F98"

SYMBOLS = ("circle", "square", "triangle-up", "diamond", "cross", "x", "star", "hexagon")  # Plotly's names of the shape numbers
CLASSES = (BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE, YELLOW, GREY)

# The three models keep one colour and one marker on every chart.
# Retrained is the blue a little lighter, to be seen on a dark ground too.
ORIGINAL, UNLEARNED, RETRAINED = GREY, VERMILLION, "#2389CC"
MODEL_COLOURS = {"original": ORIGINAL, "unlearned": UNLEARNED, "retrained": RETRAINED}
MODEL_SYMBOLS = {"original": "circle-open", "unlearned": "diamond", "retrained": "line-ns-open"}

SEQUENTIAL = ("#FFF7E0", "#FBD98B", "#F2B33D", "#DE8A1B", "#B85F12", "#7F3B10", "#45200C")
DIVERGING = ("#0072B2", "#5FA4CF", "#B7D3E6", "#F2F2F2", "#F3CDB0", "#E39863", "#D55E00")


def class_style(index: int) -> tuple[str, int]:
    """Colour and shape number of class `index`; shapes change when the colours start again."""
    return CLASSES[index % len(CLASSES)], (index // len(CLASSES)) * 3 % 8 + index % 3
