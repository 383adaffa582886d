//! Links libdamo.so; benches/parts/run says where it is.

fn main() {
    println!("cargo::rerun-if-env-changed=DAMO_LIB_DIR");
    let dir = std::env::var("DAMO_LIB_DIR").expect("start this with benches/parts/run");
    println!("cargo::rustc-link-search=native={dir}");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{dir}");
}
