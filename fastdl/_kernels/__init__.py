"""The compiled rooms: one subject each, under the same stem as its room in fastdl.nn and fastdl.reference."""
