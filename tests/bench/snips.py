"""snips.py - the chat data of $SHOAL_SHARED/data/snips: short requests in, one JSON object out.

The data's README says how rows are chosen and scored, its BASELINE.md what torch + PEFT reached.
"""
import glob
import json
import os

# As BASELINE.md counts: the first rows of each intent's file, and the quick test of 70 rows.
ROWS_AN_INTENT = 100
QUICK_OF, QUICK = 30, 10

# SmolLM2's chat template with its default system message, one exchange.
PROMPT = ("<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
          "<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n")
END = "<|im_end|>"


def folder():
    """Where the data is, or None."""
    path = os.path.join(os.environ.get("SHOAL_SHARED", "../shared"), "data", "snips")
    return path if os.path.exists(os.path.join(path, "test.jsonl")) else None


def lines_of(path):
    with open(path, encoding="utf-8") as f:
        return f.read().splitlines()


def train_lines(data):
    """The 700 rows that BASELINE.md trains on, intent by intent."""
    files = sorted(glob.glob(os.path.join(data, "train-*.jsonl")))
    return [line for path in files for line in lines_of(path)[:ROWS_AN_INTENT]]


def quick_lines(data):
    rows = lines_of(os.path.join(data, "test.jsonl"))
    return [line for i, line in enumerate(rows) if i % QUICK_OF < QUICK]


def texts(line):
    """Prompt and answer of a row as the model reads them."""
    user, assistant = json.loads(line)["messages"]
    return PROMPT.format(user["content"]), assistant["content"] + END
