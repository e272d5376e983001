"""What an agent or observer proves and whom it lets in, from its settings. Plaintext stays on one machine."""

import logging
from collections.abc import Iterable

from agents.checks import check_addresses
from agents.descriptors import acceptable
from agents.settings import Placing, Securing
from agents.values import SettingsError
from transport.addresses import AddressError, is_loopback
from transport.credentials import Credentials
from transport.keys import read_key, read_secret
from transport.link import Link
from transport.trust import Trust

log = logging.getLogger("gossamer")

ANYWHERE = "tcp://0.0.0.0:0"
"""Where an agent listens that isn't told, if it has keys or is told to do without."""


def listens_at(placing: Placing, securing: Securing) -> str | None:
    """Where an agent with these settings listens; None for nowhere."""
    if "listen" not in placing.given and (securing.encrypts or securing.insecure):
        return ANYWHERE
    return None if placing.listen == "none" else placing.listen


def opened(listen: str | None, advertise: str | None, join: Iterable[str], securing: Securing) -> Link:
    """The link of an agent that listens and publishes its address like this. Raises as `credentials`, and LinkError."""
    ours = credentials(securing, join, listen=listen, advertise=advertise, agent=True)
    return Link(listen, credentials=ours, accepts=acceptable())


def credentials(
    securing: Securing, join: Iterable[str], *, listen: str | None = None, advertise: str | None = None, agent: bool
) -> Credentials | None:
    """What a link of ours proves; None for plaintext.

    join: the addresses that we call. listen: where we listen; advertise: what we publish; None for nowhere and for the
    same. agent: we take part, and so need to know whom to let in. Raises SettingsError where plaintext would reach
    another machine without --insecure, or where an address doesn't say whose it is; KeyFileError, TrustError.
    """
    join = list(join)
    ours = {"--join": join, "--listen": [listen] if listen else [], "--advertise": [advertise] if advertise else []}
    ours = {flag: [str(address).replace(":*", ":0") for address in addresses] for flag, addresses in ours.items()}
    for flag, addresses in ours.items():
        check_addresses(flag, addresses)
    if securing.key is not None and securing.trust is None and agent:
        raise SettingsError(
            f"--key {securing.key} proves who we are, not who may take part: give --trust FILE, which "
            "`agent trust add KEY --trust FILE` makes"
        )
    if securing.key is not None:
        key, trust = read_key(securing.key), securing.trust
        return _fit(Credentials(key, Trust(trust) if trust is not None else None), join)
    if securing.secret is not None:
        return _fit(Credentials(read_secret(securing.secret), shared=True), join)
    for flag, addresses in ours.items():
        abroad = [address for address in addresses if not is_loopback(address)]
        if abroad and not securing.insecure:
            raise SettingsError(
                f"{flag} {abroad[0]}: what goes to other machines is encrypted: give --secret FILE, the same file on "
                "all of them (`agent keygen --out FILE` makes one), or --key and --trust; --insecure goes without"
            )
    if securing.insecure:
        log.warning("--insecure: whoever reaches this agent can take part, and read the models on their way")
    return None


def _fit(ours: Credentials, join: list[str]) -> Credentials:
    for address in join:
        try:
            ours.server_key(address)
        except AddressError as error:
            raise SettingsError(f"--join: {error}") from None
    return ours
