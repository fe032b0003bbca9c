//! Generates the client's code. protox stands for protoc, so that none is needed.

use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let protos = env::var("FOREIGN_PROTOS")?;
    println!("cargo::rerun-if-env-changed=FOREIGN_PROTOS");
    println!("cargo::rerun-if-changed={protos}");
    let described = protox::compile(["webrtc_signaling.proto"], [&protos])?;
    tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(described)?;
    Ok(())
}
