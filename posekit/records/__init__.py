"""TFRecord shards of people: parallel writer and verifying reader (chapter 03).

A record is one person, see `schema`. A folder of records is one set:

- `DATASET-SPLIT.tfrecord-00000-of-00008` …: the shards;
- `manifest.json`: counts, digests, arguments; it is written last, so that a folder with a manifest
  is complete.
"""

from posekit.records.reader import check, find_image, read_manifest, read_records, shard_paths
from posekit.records.schema import (
    BOX_SOURCES,
    CropSettings,
    PersonRecord,
    decode_person,
    encode_person,
)
from posekit.records.tfrecord import encode_example, parse_example, read_payloads
from posekit.records.writer import WriterConfig, write_records

__all__ = [
    "BOX_SOURCES",
    "CropSettings",
    "PersonRecord",
    "WriterConfig",
    "check",
    "decode_person",
    "encode_example",
    "encode_person",
    "find_image",
    "parse_example",
    "read_manifest",
    "read_payloads",
    "read_records",
    "shard_paths",
    "write_records",
]
