//! MongoDB, by transcripts: with what its tools are called, what they are given, what they write.
