//! josekit and jsonwebtoken beside our codec.
