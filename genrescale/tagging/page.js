"use strict";
const player = document.getElementById("player");
const seek = document.getElementById("seek");
const stage = document.getElementById("stage");
const heads = document.querySelectorAll(".playhead");
const cells = document.querySelectorAll("[data-now]");
const scores = JSON.parse(document.getElementById("scores").textContent);
const seconds = Number(seek.max);

function clock(at) {
  return Math.floor(at / 60) + ":" + String(Math.floor(at % 60)).padStart(2, "0");
}

function show() {
  const at = Math.min(player.currentTime, seconds);
  for (const head of heads) head.style.left = 100 * at / seconds + "%";
  seek.value = at;
  seek.setAttribute("aria-valuetext", clock(at) + " of " + clock(seconds));
  const row = scores[Math.min(Math.floor(at), scores.length - 1)];
  cells.forEach((cell, k) => { cell.textContent = (row[k] / 100).toFixed(2); });
}

function follow() {
  show();
  if (!player.paused && !player.ended) requestAnimationFrame(follow);
}

function go(at) {
  player.currentTime = Math.max(0, Math.min(at, seconds));
  show();
}

player.addEventListener("play", follow);
for (const moved of ["seeking", "seeked", "timeupdate", "loadedmetadata"]) player.addEventListener(moved, show);
player.addEventListener("error", () => { document.getElementById("mute").hidden = false; });
seek.addEventListener("input", () => go(Number(seek.value)));
stage.addEventListener("click", (click) => {
  const box = stage.getBoundingClientRect();
  go(seconds * (click.clientX - box.left) / box.width);
});
document.addEventListener("keydown", (key) => {
  if (key.key !== " " || key.target !== document.body) return;
  key.preventDefault();
  if (player.paused) player.play(); else player.pause();
});
show();
