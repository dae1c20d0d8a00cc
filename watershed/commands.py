"""What the commands share: errors as one sentence, the option `--shop`, and days."""

import click

from lake.errors import PlatformError

DAY = click.DateTime(formats=["%Y-%m-%d"])


class Commands(click.Group):
    """Turns the platform's errors into one sentence and exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except PlatformError as error:
            raise click.ClickException(str(error)) from None
        except KeyboardInterrupt:
            raise click.ClickException("stopped; what was committed is whole, run again to go on") from None
        except OSError as error:
            if error.errno == 28:  # ENOSPC
                raise click.ClickException("the disk is full; free some space and run again") from None
            raise


shop_option = click.option(
    "--shop",
    envvar="SHOP",
    default="retail",
    show_default=True,
    help="Which shop: retail (made up), completejourney (a grocer's files), or the name of a source with `shop:`.",
)
