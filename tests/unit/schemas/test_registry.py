"""The platform's own schemas."""

import pytest

from schemas import differences, platform_schema, schema_fingerprint


@pytest.mark.parametrize("name", ["commit_body", "claim_body", "schema_entry"])
def test_platform_schemas_load_by_name_once(name: str) -> None:
    """They lie in the package, are valid Avro and have a fingerprint of 8 bytes."""
    schema = platform_schema(name)
    assert schema is platform_schema(name)
    assert len(schema.fingerprint) == 8


def test_an_unknown_schema_is_an_error() -> None:
    """A name is not guessed."""
    with pytest.raises(FileNotFoundError):
        platform_schema("nothing")


def test_a_fingerprint_sees_names_and_types_and_no_documentation() -> None:
    """Avro's canonical form: what decides over the bytes, and nothing else."""
    field = {"name": "n", "type": "long"}
    plain = {"type": "record", "name": "Added", "fields": [field]}
    documented = {**plain, "doc": "Somebody added.", "fields": [{**field, "default": 0}]}
    renamed = {**plain, "name": "Put"}
    assert schema_fingerprint(plain) == schema_fingerprint(documented)
    assert schema_fingerprint(plain) != schema_fingerprint(renamed)
    assert differences(plain, documented) == []


def test_the_fingerprint_of_int_is_the_one_of_the_specification() -> None:
    """CRC-64-AVRO as other languages compute it."""
    assert schema_fingerprint("int").hex() == "8f5c393f1ad57572"
