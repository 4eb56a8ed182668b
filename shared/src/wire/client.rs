//! A session with capture, seen from the client's side.
