# %% [markdown]
# # A painting in progress
# Cells for VS Code, Spyder, PyCharm or Jupyter (with jupytext). As a program, it writes its figures to files.
# See README.md.

# %%
import itertools
import os
from pathlib import Path

import matplotlib.pyplot as plt

import impasto

server = os.environ.get("IMPASTO_SERVER", "localhost:50051")
images = Path(impasto.__file__).parent / "data"
content, style = images / "astronaut.jpg", images / "starry_night.jpg"
size = int(os.environ.get("IMPASTO_SIZE", "256"))
token = os.environ.get("IMPASTO_TOKEN")

client = impasto.Client(server, token=token)
info = client.info()
print(f"{server}: Impasto {info.version} on {', '.join(device.description for device in info.devices)}")

# %% [markdown]
# ## Painting
# The painting is an iterator over its events. Leaving the `with` block early, by Ctrl-C or "interrupt
# kernel", cancels the job on the server. A broken connection is resumed.

# %%
progress: list[impasto.Progress] = []
previews: list[impasto.Preview] = []

with client.stylize(content, style, size=size, effort="draft", seed=1) as painting:
    for event in painting:
        if isinstance(event, impasto.Progress) and event.preparing is None:
            progress.append(event)
            print(f"\r{event.evaluation}/{event.evaluations}  loss {event.loss:.4f}", end="", flush=True)
        elif isinstance(event, impasto.Preview):
            previews.append(event)
    picture = painting.result()
print(f"\n{picture.job.stop_message}")
picture.save("painted.png")

# %% [markdown]
# ## From the first preview to the result
# Some of the previews at even intervals, and the result.

# %%
count = min(7, len(previews))
shown = [previews[i * (len(previews) - 1) // max(1, count - 1)] for i in range(count)]
figure, axes = plt.subplots(
    1, count + 1, figsize=(2.2 * (count + 1), 2.6), squeeze=False, layout="constrained"
)
for axis, preview in zip(axes[0], shown, strict=False):
    axis.imshow(preview.image)
    axis.set_title(f"evaluation {preview.evaluation}", fontsize=9)
axes[0][-1].imshow(picture.image)
axes[0][-1].set_title("the picture", fontsize=9)
for axis in axes[0]:
    axis.axis("off")
figure.savefig("previews.png", dpi=110)
plt.show()

# %% [markdown]
# ## The losses
# The terms without their weights. Losses of different scales cannot be compared.

# %%
figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
evaluations = [at.evaluation for at in progress]
axis.plot(evaluations, [at.loss for at in progress], "k", label="loss (weighted sum)")
axis.plot(evaluations, [at.content_loss for at in progress], label="content")
axis.plot(evaluations, [at.style_loss for at in progress], label="style")
for before, after in itertools.pairwise(progress):
    if after.scale != before.scale:
        axis.axvline(after.evaluation, color="0.8", zorder=0)
        axis.text(after.evaluation, axis.get_ylim()[1], f" {after.width} px", va="top", color="0.5")
axis.set(xlabel="evaluation", yscale="log")
axis.legend(frameon=False)
figure.savefig("losses.png", dpi=110)
plt.show()

# %%
client.close()
