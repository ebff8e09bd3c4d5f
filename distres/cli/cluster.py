"""`distres cluster`: keys for TLS, and a look at a cluster before a run."""

from pathlib import Path
from typing import Annotated

import typer

from distres.errors import UsageError

Place = Annotated[
    str,
    typer.Option(
        metavar="local|slurm|kubernetes|tcp://...|FILE",
        help="The cluster, as for every other command.",
    ),
]
Workers = Annotated[int | None, typer.Option("--workers", "-j", help="Worker processes.")]
Memory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Memory of one worker, for instance 4GB.")
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True)
    group.command("certs")(certs)
    group.command("check")(check)
    group.command("script")(script)
    app.add_typer(group, name="cluster", help="Make keys for a cluster, look at it, try it.")


def certs(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files go.")],
    host: Annotated[
        list[str] | None, typer.Option(help="Name or address to write into them; repeatable.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How long they are valid.")] = 365,
) -> None:
    """Make an authority and keys with which scheduler, workers and client know each other.

    Example: distres cluster certs ~/.distres/tls
    """
    from distres.engine.security import write_certificates

    folder = directory.expanduser().absolute()
    for file in write_certificates(folder, hosts=tuple(host or ()), days=days):
        typer.echo(f"wrote {file}")
    typer.echo("in the profile of a cluster:")
    for name, stem in (("ca_file", "ca"), ("cert", "client"), ("key", "client-key")):
        typer.echo(f'  tls_{name} = "{folder / stem}.pem"')


def check(cluster: Place = "local", workers: Workers = None, memory: Memory = None) -> None:
    """Start the cluster, ask every worker what it is, and stop it.

    Example: distres cluster check --cluster slurm -j 2
    """
    from distres.engine.address import require_shared_store
    from distres.engine.cluster import open_executor
    from distres.engine.sites import describe_workers
    from distres.methods.options import parse_memory

    memory_bytes = parse_memory(memory) if memory else None
    with open_executor(cluster, workers=workers, memory_bytes=memory_bytes) as executor:
        typer.echo(f"{executor.kind}: {executor.workers} workers of {executor.memory_bytes} bytes")
        if executor.client is None:
            return
        typer.echo(f"scheduler: {executor.client.scheduler.address}")
        for line in describe_workers(executor.client):
            typer.echo(line)
        require_shared_store(executor.client, Path.cwd(), str(Path.cwd()))
        typer.echo(f"every worker that is here sees {Path.cwd()} and has this version")


def script(cluster: Place = "slurm", workers: Workers = None, memory: Memory = None) -> None:
    """Show the job script of one SLURM worker, or the Kubernetes manifest, without using it.

    Example: distres cluster script --cluster deploy/slurm/cpu.toml
    """
    from distres.engine.profiles import Profile, read_profile
    from distres.methods.options import parse_memory

    kinds = ("slurm", "kubernetes")
    profile = Profile(kind=cluster) if cluster in kinds else read_profile(cluster)
    profile = profile.with_sizes(
        workers=workers, memory_bytes=parse_memory(memory) if memory else None
    )
    if profile.kind == "slurm":
        from distres.engine.slurm import render_job

        typer.echo(render_job(profile), nl=False)
    elif profile.kind == "kubernetes":
        from distres.engine.kubernetes import render_cluster

        typer.echo(render_cluster(profile), nl=False)
    else:
        raise UsageError(f"a cluster of kind '{profile.kind}' has no script to show")
