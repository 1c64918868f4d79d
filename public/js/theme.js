// The colour scheme that was chosen by hand, set before anything is painted. Without a choice the system decides.
(() => {
  const chosen = localStorage.getItem('fanwise.theme');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
})();
