import pytest
from google.protobuf import descriptor_pool, message_factory

from keras_distill.serving.client.proto_file import read_proto

TEXT = """
syntax = "proto3";  // a comment
package garden;
message Bed {
  enum State {
    EMPTY = 0;
    SOWN = 7;
  }
  message Row {
    repeated double spacing = 1;
  }
  oneof place {
    string name = 1;
    int64 number = 2;
  }
  State state = 3;
  repeated Row rows = 4;
  map<string, Bed.Row> rows_by_plant = 5;
}
service Gardener {
  rpc Water(Bed) returns (Bed);
}
"""


def test_what_is_read_works_as_a_message():
    file = read_proto(TEXT, "garden.proto")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    bed_class = message_factory.GetMessageClass(pool.FindMessageTypeByName("garden.Bed"))
    bed = bed_class(name="south", number=3, state="SOWN", rows=[{"spacing": [0.5]}])
    bed.rows_by_plant["leek"].spacing.append(0.25)
    assert bed.WhichOneof("place") == "number"
    assert bed_class.FromString(bed.SerializeToString()) == bed
    method = pool.FindServiceByName("garden.Gardener").methods_by_name["Water"]
    assert method.input_type is method.output_type is bed_class.DESCRIPTOR


@pytest.mark.parametrize("line", ["optional string name = 1;", "extend Bed {", "int64 a = 1"])
def test_what_is_not_understood_is_refused(line):
    with pytest.raises(ValueError, match=r"is not understood"):
        read_proto(line, "odd.proto")
