"""The jwcrypto peer. README.md beside this file has the line protocol and what each peer lacks."""

import json
import sys
from importlib.metadata import version

from cryptography.exceptions import UnsupportedAlgorithm
from jwcrypto import jwe, jwk, jws
from jwcrypto.jwa import JWA

sys.dont_write_bytecode = True  # the tree stays as it is
from peer_protocol import Unsupported, compact, decode, encode, header_of, probe, protected_header, serve

SIGNATURES = list(jws.default_allowed_algs)
ENCRYPTIONS = list(jwe.default_allowed_algs)


def known(*names):
    for name in names:
        if name not in JWA.algorithms_registry:
            raise Unsupported("jwcrypto has no %s" % name)


def key_of(request):
    if request.get("jwks"):
        return jwk.JWKSet.from_json(json.dumps(request["jwks"]))
    return jwk.JWK(**request["jwk"])


def sign(request):
    known(request["alg"])
    token = jws.JWS(decode(request["payload"]))
    token.allowed_algs = SIGNATURES
    token.add_signature(key_of(request), None, compact(header_of(request)))
    return {"token": token.serialize(compact=True)}


def verify(request):
    known(protected_header(request["token"]).get("alg"))
    token = jws.JWS()
    token.allowed_algs = request.get("algs") or SIGNATURES
    token.deserialize(request["token"], key_of(request))
    return {"payload": encode(token.payload), "header": token.jose_header}


def encrypt(request):
    known(request["alg"], request["enc"])
    # compact, as jwcrypto takes the text as it is and joserfc opens no other (README.md)
    token = jwe.JWE(decode(request["payload"]), compact(header_of(request)), algs=ENCRYPTIONS)
    token.add_recipient(key_of(request))
    return {"token": token.serialize(compact=True)}


def decrypt(request):
    header = protected_header(request["token"])
    known(header.get("alg"), header.get("enc"))
    algs = (request.get("algs") or []) + (request.get("encs") or [])
    token = jwe.JWE(algs=algs or ENCRYPTIONS)
    token.deserialize(request["token"], key_of(request))
    return {"payload": encode(token.payload), "header": token.jose_header}


def generate(request):
    shape = {name: request[name] for name in ("kty", "crv", "size") if request.get(name)}
    if shape["kty"] in ("RSA", "oct"):
        shape.setdefault("size", {"RSA": 2048, "oct": 256}[shape["kty"]])
    return {"jwk": jwk.JWK.generate(**shape).export(private_key=True, as_dict=True)}


def capabilities(_):
    return {"peer": "jwcrypto", "version": version("jwcrypto"), **probe(OPERATIONS)}


OPERATIONS = {
    "sign": sign,
    "verify": verify,
    "encrypt": encrypt,
    "decrypt": decrypt,
    "generate": generate,
    "capabilities": capabilities,
}


def lacks(error):
    return isinstance(error, (NotImplementedError, UnsupportedAlgorithm))


if __name__ == "__main__":
    serve(OPERATIONS, lacks)
