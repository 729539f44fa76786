"""``python -m frugal data``: what pictures are here, and how to get the rest."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--download", is_flag=True, help="Fetch CIFAR-10 through torchvision (163 MiB, from its author's site).")
@click.option(
    "--to", type=click.Path(file_okay=False, path_type=Path), help="Folder; by default what FRUGAL_DATA names."
)
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a contact sheet of drawn pictures, a PPM file.",
)
@click.option("--seed", default=0, show_default=True, help="Of the contact sheet.")
def data(download: bool, to: Path | None, sheet: Path | None, seed: int) -> None:
    """Draw the course's images, or find and fetch the real ones."""
    from frugal.data import cifar10, drawn

    click.echo(f"drawn    {', '.join(drawn.CLASSES)}: made on the spot, no download")
    folder = cifar10.data_folder(to)
    if download:
        if folder is None:
            raise click.UsageError("--download needs a folder: add --to FOLDER, or set FRUGAL_DATA")
        from frugal.data.download import fetch_cifar10

        for path in fetch_cifar10(folder):
            click.echo(f"wrote    {path}")
    for split, names in cifar10.SPLITS.items():
        if folder is None:
            state = "unknown folder: set FRUGAL_DATA, or add --to FOLDER"
        elif absent := cifar10.missing(split, folder):
            state = f"{len(absent)} of {len(names)} files missing in {folder / cifar10.FOLDER}; --download fetches them"
        else:
            images, _ = cifar10.load(split, folder)
            state = f"{len(images):,} pictures in {folder / cifar10.FOLDER}"
        click.echo(f"cifar10  {split:<8} {state}")
    if sheet is not None:
        _write_sheet(sheet, seed)
        click.echo(f"wrote    {sheet}: one row per class")


def _write_sheet(path: Path, seed: int) -> None:
    """Write ten rows of drawn pictures as a PPM file, which every image viewer opens and which needs no library."""
    from frugal.data.drawn import sheet

    pixels = sheet(seed=seed).mul(255).round().byte().permute(1, 2, 0)  # [height, width, 3]
    path.write_bytes(b"P6 %d %d 255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.contiguous().numpy().tobytes())
