"""Writes the Parquet files beside it (`python3 make.py`, with pyarrow): own questions in the published forms of benchmarks."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent


def write(name, columns, **options):
    pq.write_table(pa.table(columns), HERE / name, **options)


texts = pa.list_(pa.string())
write(
    "gsm8k.parquet",
    {
        "question": ["Ann has 2 apples and buys 3. How many has she?", "A train makes 600 km a day. How far in 2 days?"],
        "answer": ["2+3 = <<2+3=5>>5\n#### 5", "600*2 = <<600*2=1200>>1200\n#### 1,200"],
    },
)
write(
    "amc23.parquet",
    {
        "id": pa.array([0, 1], pa.int64()),
        "question": ["What is $3^3$?", "What is half of $5$?"],
        "answer": pa.array([27.0, 2.5], pa.float64()),
        "url": pa.array(["u", None], pa.large_string()),
    },
)
write(
    "olympiadbench.parquet",
    {
        "id": pa.array([1606, 1607, 1608], pa.int32()),
        "question": ["Find $x$.", "Find both.", "Find none."],
        "solution": pa.array([["s"], ["s", "t"], None], texts),
        "final_answer": pa.array([["$2^{10}$"], ["$(1,2)$", "$3$"], []], texts),
        "context": pa.array([None, "Let $x^2=x$.", None], pa.string()),
        "is_multiple_answer": [False, True, False],
        "unit": pa.array([None, None, None], pa.string()),
        "subfield": ["Algebra", "Algebra", "Geometry"],
    },
    data_page_version="2.0",
)
write(
    "mmlu_pro.parquet",
    {
        "question_id": pa.array([70, 71], pa.int64()),
        "question": ["Which is smallest?", "Which is largest?"],
        "options": pa.array([["one", "two", "three"], ["one", "N/A", "two"]], texts),
        "answer": ["A", "C"],
        "answer_index": pa.array([0, 2], pa.int64()),
        "category": pa.array(["math", "math"]).dictionary_encode(),
    },
    compression="zstd",
)
