"""The page in Firefox and in WebKitGTK, next to Chromium of `test_page.py`. `make test-slow` runs
these; where a browser is missing, they are skipped, saying which package has it."""

import base64
import json

import cv2
import numpy as np
import pytest
from engines import Firefox, WebKit
from page_lab import CLIP, LISTEN, serving
from test_page import frame_of, largest_difference

from posekit.inference import predictor
from posekit.live import server, video

pytestmark = [pytest.mark.slow, pytest.mark.browser]

#: An image file is dropped on the page.
DROP = """(() => {
  const bytes = Uint8Array.from(atob(DATA), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "person.jpg", { type: "image/jpeg" }));
  const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
  document.querySelector(".syp-stage").dispatchEvent(new DragEvent("drop", options));
})()"""
#: Number of canvas pixels in the colours of the left and of the right limbs.
COLOURED = """(() => {
  const canvas = document.querySelector(".syp canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const near = (i, colour) => colour.every((value, k) => Math.abs(data[i + k] - value) < 12);
  const count = (colour) => {
    let number = 0;
    for (let i = 0; i < data.length; i += 4) number += near(i, colour);
    return number;
  };
  return [count([0xe6, 0x9f, 0x00]), count([0x00, 0x72, 0xb2])];
})()"""


@pytest.fixture(params=[Firefox, WebKit], ids=["firefox", "webkitgtk"])
def engine(request, tmp_path):
    if missing := request.param.missing():
        pytest.skip(missing)
    one = request.param(tmp_path)
    yield one
    one.close()


def click(engine, name: str) -> None:
    engine.evaluate(f"document.querySelector('[data-do={name}]').click()")


def status(engine) -> str:
    return engine.evaluate("document.querySelector('.syp-status').innerText")


def test_the_clip_is_tracked_as_in_python_and_the_skeleton_is_drawn(engine):
    loaded = predictor.load(server.model_file())
    frames = [frame.astype(np.int16) for frame, _ in video.frames(CLIP)]
    with serving(server.model_file()) as address:
        engine.open(address)
        engine.wait_for("document.querySelector('[data-do=clip]')")
        engine.evaluate(f"({LISTEN})()")
        engine.evaluate("window.wanted = 3")
        click(engine, "clip")
        engine.wait_for("window.kept?.length >= 3")
        click(engine, "stop")
        assert "Stopped" in status(engine)
        for pose in engine.evaluate("window.kept"):
            assert largest_difference(pose, loaded) <= 0.01
            assert np.abs(frame_of(pose) - frames[pose["number"]]).mean() < 2
        left, right = engine.evaluate(COLOURED)
        assert min(left, right) > 200

        data = base64.b64encode(cv2.imencode(".jpg", frames[0][:, :, ::-1])[1]).decode()
        engine.evaluate("window.kept = [], window.wanted = 1")
        engine.evaluate(DROP.replace("DATA", json.dumps(data)))
        engine.wait_for("window.kept?.length >= 1")
        assert "A person was found" in status(engine)
        assert largest_difference(engine.evaluate("window.kept")[0], loaded) <= 0.01

        click(engine, "camera")
        if isinstance(engine, Firefox):  # its camera shows a pattern
            engine.wait_for("window.last?.kind === 'camera'")
            assert "Searching for a person" in status(engine)
            click(engine, "stop")
        else:  # it has none
            engine.wait_for("document.querySelector('.syp-wrong')")
            assert "No camera was found" in status(engine)
        assert engine.wrong == []
