//! Frames through the pipes of an engine.

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, watch},
};
use wire::fleet::worker::{FromWorker, frame_length};

/// The next frame; none at the end.
pub(super) async fn next_frame(reader: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<FromWorker>> {
    let mut head = [0; 4];
    match reader.read_exact(&mut head).await {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let mut body = vec![0; frame_length(head)?];
    match reader.read_exact(&mut body).await {
        Ok(_) => {}
        // It died while writing.
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    Ok(Some(serde_json::from_slice(&body)?))
}

/// Writes frames until the engine's end. A pipe that is closed shows on the reading side.
pub(super) async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut frames: mpsc::Receiver<Vec<u8>>,
    mut ended: watch::Receiver<Option<String>>,
) {
    let writing = async {
        while let Some(bytes) = frames.recv().await {
            if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = writing => {}
        _ = ended.wait_for(Option::is_some) => {}
    }
}
