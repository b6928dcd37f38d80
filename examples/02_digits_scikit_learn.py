"""scikit-learn's tools work as they are:
a grid search by held-out log p(x), then the latent code in a pipeline.
"""

from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nelbo import VariationalAutoencoder

X, y = load_digits().images, load_digits().target  # (n, 8, 8)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=0)

# score() is the mean of log p(x), so a grid search needs no other scorer: it can choose the number
# of latents.
vae = VariationalAutoencoder(
    hidden=(128,), scale="global", score_samples_k=32, max_steps=300, random_state=0
)
search = GridSearchCV(vae, {"latent_dim": [2, 8, 16]}, cv=2).fit(X_train)
print("latent_dim   log p(x), cross-validated")
for params, value in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    print(f"{params['latent_dim']:>10}   {value:.1f} nats")

best = search.best_estimator_
ours = best.score(X_test)
theirs = PCA(best.latent_dim).fit(X_train.reshape(-1, 64)).score(X_test.reshape(-1, 64))
print(
    f"Held-out log p(x) with {best.latent_dim} latents: {ours:.1f} nats; PCA of the same size "
    f"{theirs:.1f}."
)

# transform() is the posterior mean, so the model is a step in a pipeline.
classifier = make_pipeline(best, StandardScaler(), LogisticRegression(max_iter=1000)).fit(
    X_train, y_train
)
codes = classifier[:-1].transform(X_test[:1])
accuracy = classifier.score(X_test, y_test)
print(
    f"Accuracy of a linear classifier on the {codes.shape[1]} latents: {accuracy:.3f} (64 pixels "
    "in)."
)

if ours <= theirs or accuracy < 0.9:
    raise SystemExit("The VAE is worse than PCA, or its code has lost the digits.")
