"""The joserfc peer. README.md beside this file has the line protocol and what each peer lacks."""

import json
import sys
import urllib.request
import warnings

import joserfc
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jwe, jws, jwt
from joserfc.errors import UnsupportedAlgorithmError
from joserfc.jwk import JWKRegistry, KeySet

sys.dont_write_bytecode = True  # the tree stays as it is
from peer_protocol import Unsupported, decode, encode, header_of, probe, protected_header, serve

# joserfc warns of EdDSA (RFC 9864) and of short keys; what is refused is the tests' to judge
warnings.simplefilter("ignore")

SIGNATURES = sorted(jws.JWSRegistry.algorithms)
KEY_MANAGEMENT = sorted(jwe.JWERegistry.algorithms["alg"])
ENCRYPTIONS = sorted(jwe.JWERegistry.algorithms["enc"])


class WideJws(jws.JWSRegistry):
    """joserfc's own limits are below those of the service."""

    max_header_length = 8192
    max_payload_length = 1 << 20
    max_signature_length = 2048


class WideJwe(jwe.JWERegistry):
    """joserfc's own limits are below those of the service."""

    max_protected_header_length = 8192
    max_encrypted_key_length = 2048
    max_ciphertext_length = 1 << 20


def signatures(algs=None):
    return WideJws(algorithms=algs or SIGNATURES, strict_check_header=False)


def encryptions(algs=None, encs=None):
    allowed = (algs or KEY_MANAGEMENT) + (encs or ENCRYPTIONS)
    return WideJwe(algorithms=allowed, strict_check_header=False)


def known(*names):
    for name in names:
        if name not in SIGNATURES + KEY_MANAGEMENT + ENCRYPTIONS:
            raise Unsupported("joserfc has no %s" % name)


def key_of(request):
    if request.get("jwks"):
        return KeySet.import_key_set(request["jwks"])
    return JWKRegistry.import_key(request["jwk"])


def sign(request):
    known(request["alg"])
    return {"token": jws.serialize_compact(header_of(request), decode(request["payload"]), key_of(request), registry=signatures())}


def verify(request):
    known(protected_header(request["token"]).get("alg"))
    signed = jws.deserialize_compact(request["token"], key_of(request), registry=signatures(request.get("algs")))
    return {"payload": encode(signed.payload), "header": signed.headers()}


def encrypt(request):
    known(request["alg"], request["enc"])
    payload = decode(request["payload"])
    return {"token": jwe.encrypt_compact(header_of(request), payload, key_of(request), registry=encryptions())}


def decrypt(request):
    header = protected_header(request["token"])
    known(header.get("alg"), header.get("enc"))
    registry = encryptions(request.get("algs"), request.get("encs"))
    opened = jwe.decrypt_compact(request["token"], key_of(request), registry=registry)
    return {"payload": encode(opened.plaintext), "header": opened.headers()}


def generate(request):
    shape = request.get("crv") or request.get("size") or {"RSA": 2048, "oct": 256}[request["kty"]]
    return {"jwk": JWKRegistry.generate_key(request["kty"], shape).as_dict(private=True)}


def verify_jwks_url(request):
    # the machine's proxy settings have no say in what is on 127.0.0.1
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request["url"], timeout=5) as response:
        keys = KeySet.import_key_set(json.loads(response.read()))
    algs = request.get("algs") or SIGNATURES
    token = jwt.decode(request["token"], keys, algorithms=algs, registry=signatures(algs))
    expected = {"exp": {"essential": True}}
    for claim, member in (("iss", "issuer"), ("aud", "audience")):
        if request.get(member):
            expected[claim] = {"essential": True, "value": request[member]}
    jwt.JWTClaimsRegistry(**expected).validate(token.claims)
    return {"claims": token.claims, "header": token.header}


def capabilities(_):
    return {"peer": "joserfc", "version": joserfc.__version__, **probe(OPERATIONS)}


OPERATIONS = {
    "sign": sign,
    "verify": verify,
    "encrypt": encrypt,
    "decrypt": decrypt,
    "generate": generate,
    "verify_jwks_url": verify_jwks_url,
    "capabilities": capabilities,
}


def lacks(error):
    # the same error class says "not in the list that the caller allowed": known() has caught what is really missing
    return isinstance(error, UnsupportedAlgorithm) and not isinstance(error, UnsupportedAlgorithmError)


if __name__ == "__main__":
    serve(OPERATIONS, lacks)
