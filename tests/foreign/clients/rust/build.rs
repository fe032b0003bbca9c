//! Generates the client's code. protox stands for protoc, so that none is needed.

use std::{env, error::Error};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let protos = env::var("FOREIGN_PROTOS")?;
    println!("cargo::rerun-if-env-changed=FOREIGN_PROTOS");
    println!("cargo::rerun-if-changed={protos}");
    let files = ["webrtc_signaling.proto", "health.proto"];
    let described = protox::compile(files, [&protos])?;
    let bytes = described.encode_to_vec();
    tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(described)?;
    pbjson_build::Builder::new()
        .register_descriptors(&bytes)?
        .preserve_proto_field_names()
        .build(&[".remotemedia", ".grpc"])?;
    Ok(())
}
